package bench

import (
	"context"

	"github.com/docusnap/asyncvfs/vfs"
)

// Tuned opens connections of this VFS with settings other than the defaults, as [vfs.DSN] puts them in their place.
// Those of the DSN come after: the disk's VFS and the level.
func (s Setup) Tuned(dir string, opts ...vfs.DSNOption) Opener {
	return func(context.Context) (Conn, error) {
		if err := registerDisks(); err != nil {
			return nil, err
		}
		all := append([]vfs.DSNOption{vfs.Pragma("busy_timeout", "600000")}, opts...)
		all = append(all, vfs.Parameter("vfs", s.vfs()), vfs.Parameter("_pragma", "synchronous("+s.Level+")"))
		return openNative(vfs.DSN(DatabasePath(dir), all...))
	}
}
