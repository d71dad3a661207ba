package powercut

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// faults are what can go wrong, by name: with the n-th operation of that kind, counted from 1.
var faults = map[string]struct {
	kind  func(Op) bool
	fault func(Op) Fault
}{
	// A sync fails and drops what it should have written, as with Linux: the next one "succeeds".
	"sync-lost": {isSync, func(Op) Fault { return Fault{Err: syscall.EIO, Lost: true} }},
	// A sync fails, and what it should have written waits for the next one.
	"sync-kept": {isSync, func(Op) Fault { return Fault{Err: syscall.EIO} }},
	// A sync of the database file fails and drops what it should have written, by whichever process.
	"db-lost": {isSyncDB, func(Op) Fault { return Fault{Err: syscall.EIO, Lost: true} }},
	// So does one by a process on the stock VFS, which goes on.
	"stock-lost": {func(op Op) bool { return op.Stock && isSyncDB(op) }, func(Op) Fault { return Fault{Err: syscall.EIO, Lost: true} }},
	"hang":       {isSync, func(Op) Fault { return Fault{Hang: 10 * time.Second} }},
	"write":      {is(Write), func(Op) Fault { return Fault{Err: syscall.EIO} }},
	"short":      {is(Write), func(op Op) Fault { return Fault{Err: syscall.EIO, Short: op.Size / 2} }},
	"full":       {is(Write), func(op Op) Fault { return Fault{Err: sqlite3.FULL, Short: op.Size / 3} }},
	"link":       {is(Link), func(Op) Fault { return Fault{Err: syscall.ENOSPC} }},
	"unlink":     {is(Unlink), func(Op) Fault { return Fault{Err: syscall.EIO} }},
	"truncate":   {is(Truncate), func(Op) Fault { return Fault{Err: syscall.EIO} }},
	// The disk is full once so many KiB are added.
	"space": {func(Op) bool { return false }, nil},
	// The WAL's header can't be read, or the WAL-index can't be opened beside SQLite.
	"header": {is(Read), func(Op) Fault { return Fault{Err: syscall.EIO} }},
	"index":  {is(Index), func(Op) Fault { return Fault{Err: syscall.EIO} }},
}

func is(kind EventKind) func(Op) bool { return func(op Op) bool { return op.Kind == kind } }

// isSync is a sync by a process on this project's VFS: what becomes of one on the stock VFS isn't its doing.
func isSync(op Op) bool {
	return (op.Kind == SyncStart || op.Kind == DirSyncStart) && !op.Stock
}

// isSyncDB is a sync of a database file, also by a process on the stock VFS, if that brings over again what fails.
func isSyncDB(op Op) bool {
	return op.Kind == SyncStart && strings.HasSuffix(op.Name, ".db") && !op.Partial
}

// injector injects a fault.
type injector struct {
	name  string
	stays bool
	then  *injector // injects the next one, counted from when this one has happened; or nil

	mu   sync.Mutex
	left int  // operations until it happens
	done bool // it has happened
	over bool // and doesn't any more
}

// parseFault reads "name@n", or "name@n+" for a fault that stays, or several of them joined by commas:
// each is counted from when the one before has happened.
func parseFault(s string) (f *injector, err error) {
	s, next, more := strings.Cut(s, ",")
	f = &injector{}
	name, n, _ := strings.Cut(s, "@")
	n, f.stays = strings.CutSuffix(n, "+")
	f.name = name
	f.left, err = strconv.Atoi(n)
	if _, ok := faults[name]; !ok || err != nil || f.left < 1 {
		return nil, fmt.Errorf("fault %q: want name@n or name@n+, n from 1", s)
	}
	if more {
		f.then, err = parseFault(next)
	}
	return f, err
}

func newInjector(s string) *injector {
	if s == "" {
		return &injector{}
	}
	f, err := parseFault(s)
	if err != nil {
		panic(err)
	}
	return f
}

// next returns the fault of an operation.
func (f *injector) next(op Op) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done && f.then != nil {
		if fault := f.then.next(op); fault != (Fault{}) {
			return fault
		}
	}
	kind, ok := faults[f.name]
	if !ok || f.over || !kind.kind(op) {
		return Fault{}
	}
	f.left--
	if f.left == 0 || f.left < 0 && f.stays {
		f.done = true
		return kind.fault(op)
	}
	return Fault{}
}

// happened reports whether it has happened.
func (f *injector) happened() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.done
}

// end ends a fault that stays.
func (f *injector) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
}

// endAll ends the faults after it, too.
func (f *injector) endAll() {
	for ; f != nil; f = f.then {
		f.end()
	}
}

// spaceLimit returns the size of a disk that holds img.
func (f *injector) spaceLimit(img Image) (limit int64) {
	if f.name != "space" {
		return 0
	}
	f.done = true
	for _, data := range img {
		limit += int64(len(data))
	}
	return limit + int64(f.left)<<10
}

// explains reports whether an error may come of the fault.
func (f *injector) explains(err error) bool {
	if f.then != nil && f.then.explains(err) {
		return true
	}
	var code sqlite3.ErrorCode
	if !f.happened() || f.name == "hang" || !errors.As(err, &code) {
		return false
	}
	switch code {
	case sqlite3.IOERR, sqlite3.FULL, sqlite3.CANTOPEN:
		return true
	case sqlite3.ERROR: // a PRAGMA's
		return strings.Contains(err.Error(), syscall.EIO.Error()) ||
			f.name == "index" && strings.Contains(err.Error(), syscall.EISDIR.Error()) // what a WAL-index is replaced by
	}
	return false
}

// faultNames returns the names of the faults.
func faultNames() []string { return slices.Sorted(maps.Keys(faults)) }
