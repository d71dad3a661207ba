package bench

import (
	"fmt"
	"sync"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// Disks are the real one, and the same with every sync made slower.
var Disks = []string{"real", "sync+1ms", "sync+5ms"}

// delays are of the disks with slower syncs.
var delays = map[string]time.Duration{"sync+1ms": time.Millisecond, "sync+5ms": 5 * time.Millisecond}

// registerDisks registers the VFSes of the slower disks.
var registerDisks = sync.OnceValue(func() error {
	for _, delay := range delays {
		slow := SlowSync{sqlitevfs.Find(""), delay}
		name := slowName(delay)
		sqlitevfs.Register(name, slow)
		if err := vfs.Register("async-"+name, slow); err != nil {
			return fmt.Errorf("disk %s: %w", name, err)
		}
	}
	return nil
})

func slowName(delay time.Duration) string { return "slow-" + delay.String() }

// vfs returns the name of the setup's VFS; empty is go-sqlite3's own.
func (s Setup) vfs() string {
	delay, slow := delays[s.Disk]
	switch {
	case slow && s.async():
		return "async-" + slowName(delay)
	case slow:
		return slowName(delay)
	case s.async():
		return "async"
	}
	return ""
}
