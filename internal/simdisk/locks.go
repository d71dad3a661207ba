package simdisk

import (
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// locks are the locks of a file, which its handles have. The disk's mutex guards them.
//
// https://sqlite.org/lockingv3.html
type locks struct {
	held map[*file]sqlitevfs.LockLevel
}

// others returns the highest lock of the other handles.
func (l *locks) others(f *file) (highest sqlitevfs.LockLevel) {
	for g, level := range l.held {
		if g != f {
			highest = max(highest, level)
		}
	}
	return highest
}

func (l *locks) lock(f *file, want sqlitevfs.LockLevel) error {
	if l.held == nil {
		l.held = map[*file]sqlitevfs.LockLevel{}
	}
	have, others := l.held[f], l.others(f)
	switch {
	case want <= have:
		return nil
	case want == sqlitevfs.LOCK_SHARED && others >= sqlitevfs.LOCK_PENDING,
		want >= sqlitevfs.LOCK_RESERVED && others >= sqlitevfs.LOCK_RESERVED:
		return sqlite3.BUSY
	case want == sqlitevfs.LOCK_EXCLUSIVE && others >= sqlitevfs.LOCK_SHARED:
		// No new readers get in from here on. Who rolls back a hot journal comes without a reserved lock,
		// and must not look as if the journal were its own.
		if have >= sqlitevfs.LOCK_RESERVED {
			l.held[f] = sqlitevfs.LOCK_PENDING
		}
		return sqlite3.BUSY
	}
	l.held[f] = want
	return nil
}

func (l *locks) unlock(f *file, want sqlitevfs.LockLevel) {
	if want == sqlitevfs.LOCK_NONE {
		delete(l.held, f)
	} else if l.held[f] > want {
		l.held[f] = want
	}
}
