package simdisk

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

// Injector injects a fault into the operations of a disk.
type Injector struct {
	name  string
	stays bool
	then  *Injector // injects the next one, counted from when this one has happened; or nil

	mu   sync.Mutex
	left int  // operations until it happens
	done bool // it has happened
	over bool // and doesn't any more
}

// parse reads "name@n", or "name@n+" for a fault that stays, or several of them joined by commas:
// each is counted from when the one before has happened.
func parse(s string) (f *Injector, err error) {
	s, next, more := strings.Cut(s, ",")
	f = &Injector{}
	name, n, _ := strings.Cut(s, "@")
	n, f.stays = strings.CutSuffix(n, "+")
	f.name = name
	f.left, err = strconv.Atoi(n)
	if _, ok := faults[name]; !ok || err != nil || f.left < 1 {
		return nil, fmt.Errorf("fault %q: want name@n or name@n+, n from 1", s)
	}
	if more {
		f.then, err = parse(next)
	}
	return f, err
}

// NewInjector returns the injector of a fault, "kind@n" or "kind@n+", or several joined by commas; "" is none.
// The kinds are those of [FaultNames].
func NewInjector(s string) (*Injector, error) {
	if s == "" {
		return &Injector{}, nil
	}
	return parse(s)
}

// Next returns the fault of an operation.
func (f *Injector) Next(op Op) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done && f.then != nil {
		if fault := f.then.Next(op); fault != (Fault{}) {
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

// More reports whether there is another one after the first.
func (f *Injector) More() bool { return f.then != nil }

// Happened reports whether the fault has happened.
func (f *Injector) Happened() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.done
}

// EndFirst ends the first one if it stays, and leaves those after it.
func (f *Injector) EndFirst() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
}

// End ends a fault that stays, and those after it.
func (f *Injector) End() {
	for ; f != nil; f = f.then {
		f.EndFirst()
	}
}

// SpaceLimit returns the size of a disk that holds img.
func (f *Injector) SpaceLimit(img Image) (limit int64) {
	if f.name != "space" {
		return 0
	}
	f.done = true
	for _, data := range img {
		limit += int64(len(data))
	}
	return limit + int64(f.left)<<10
}

// Explains reports whether an error may come of the fault.
func (f *Injector) Explains(err error) bool {
	if f.then != nil && f.then.Explains(err) {
		return true
	}
	var code sqlite3.ErrorCode
	if !f.Happened() || f.name == "hang" || !errors.As(err, &code) {
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

// FaultNames returns the names of the faults.
func FaultNames() []string { return slices.Sorted(maps.Keys(faults)) }
