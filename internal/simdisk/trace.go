package simdisk

import (
	"fmt"
	"time"
)

// EventKind is what an [Event] is about.
type EventKind uint8

const (
	// Write put Data at Off of a file.
	Write EventKind = iota
	// Truncate set a file's size.
	Truncate
	// Link made Name an entry of the directory, for a new file.
	Link
	// Unlink removed it.
	Unlink
	// SyncStart and SyncEnd are around a file's sync: it covers what was written before its start,
	// once its end comes without an error.
	SyncStart
	SyncEnd
	// DirSyncStart and DirSyncEnd are around a sync of the directory.
	DirSyncStart
	DirSyncEnd
	// Mark is what the application saw or did. The disk has no part in it.
	Mark
	// Read is a read of the WAL's header, and Index is an attempt to open the WAL-index beside SQLite.
	// They aren't in the trace: a disk may only be told to let them fail.
	Read
	Index
)

func (k EventKind) String() string {
	return [...]string{"write", "truncate", "link", "unlink", "sync", "synced", "syncdir", "dirsynced", "mark", "read", "index"}[k]
}

// Event is an entry of a disk's trace.
type Event struct {
	Kind EventKind
	Time time.Duration // since the disk was made
	File int           // a file's number; it keeps that under any name, and after it was unlinked
	Name string
	Off  int64 // of a write; the new size for a truncate
	Data []byte
	Pair int   // of a start of a sync: the event of its end, once there is one; of an end: that of its start
	Err  error // of an end of a sync
	// Lost is set for a sync that failed for good: what it should have covered
	// isn't on the disk, yet no later sync writes it, as with Linux.
	Lost bool
	Note any // of a mark
	Conn any // of a write: the connection that wrote it, if it is known
	// Called is when a sync was asked for; Time is when it started.
	Called time.Duration
}

func (e *Event) String() string {
	s := fmt.Sprintf("%10v  %-9s %s", e.Time, e.Kind, e.Name)
	switch e.Kind {
	case Write:
		s += fmt.Sprintf(" %d bytes at %d", len(e.Data), e.Off)
	case Truncate:
		s += fmt.Sprintf(" to %d", e.Off)
	case SyncEnd, DirSyncEnd:
		s += fmt.Sprintf(" (started at event %d)", e.Pair)
		if e.Err != nil {
			s += fmt.Sprintf(": %v", e.Err)
		}
	case Mark:
		s += fmt.Sprint(e.Note)
	}
	return s
}
