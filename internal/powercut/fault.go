package powercut

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// faults are what can go wrong, by name: with the n-th operation of that kind, counted from 1.
var faults = map[string]struct {
	kind  func(EventKind) bool
	fault func(Op) Fault
}{
	// A sync fails and drops what it should have written, as with Linux: the next one "succeeds".
	"sync-lost": {isSync, func(Op) Fault { return Fault{Err: syscall.EIO, Lost: true} }},
	// A sync fails, and what it should have written waits for the next one.
	"sync-kept": {isSync, func(Op) Fault { return Fault{Err: syscall.EIO} }},
	"hang":      {isSync, func(Op) Fault { return Fault{Hang: 10 * time.Second} }},
	"write":     {isWrite, func(Op) Fault { return Fault{Err: syscall.EIO} }},
	"short":     {isWrite, func(op Op) Fault { return Fault{Err: syscall.EIO, Short: op.Size / 2} }},
	"full":      {isWrite, func(op Op) Fault { return Fault{Err: sqlite3.FULL, Short: op.Size / 3} }},
	"link":      {func(k EventKind) bool { return k == Link }, func(Op) Fault { return Fault{Err: syscall.ENOSPC} }},
	"unlink":    {func(k EventKind) bool { return k == Unlink }, func(Op) Fault { return Fault{Err: syscall.EIO} }},
	// The disk is full once so many KiB are added.
	"space":    {func(EventKind) bool { return false }, nil},
	"truncate": {func(k EventKind) bool { return k == Truncate }, func(Op) Fault { return Fault{Err: syscall.EIO} }},
}

func isSync(k EventKind) bool  { return k == SyncStart || k == DirSyncStart }
func isWrite(k EventKind) bool { return k == Write }

// injector injects a fault.
type injector struct {
	name  string
	left  int // operations until it happens
	stays bool
	done  bool // it has happened
	over  bool // and doesn't any more
}

// parseFault reads "name@n", or "name@n+" for a fault that stays.
func parseFault(s string) (f *injector, err error) {
	f = &injector{}
	name, n, _ := strings.Cut(s, "@")
	n, f.stays = strings.CutSuffix(n, "+")
	f.name = name
	f.left, err = strconv.Atoi(n)
	if _, ok := faults[name]; !ok || err != nil || f.left < 1 {
		return nil, fmt.Errorf("fault %q: want name@n or name@n+, n from 1", s)
	}
	return f, nil
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
	kind, ok := faults[f.name]
	if !ok || f.over || !kind.kind(op.Kind) {
		return Fault{}
	}
	f.left--
	if f.left == 0 || f.left < 0 && f.stays {
		f.done = true
		return kind.fault(op)
	}
	return Fault{}
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
	var code sqlite3.ErrorCode
	if !f.done || f.name == "hang" || !errors.As(err, &code) {
		return false
	}
	switch code {
	case sqlite3.IOERR, sqlite3.FULL, sqlite3.CANTOPEN:
		return true
	}
	return false
}

// faultNames returns the names of the faults.
func faultNames() []string { return slices.Sorted(maps.Keys(faults)) }
