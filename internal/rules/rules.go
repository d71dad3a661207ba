// Package rules names the safety rules of the VFS,
// so that a test can switch one off and show that something breaks.
//
// Nothing outside this module can reach the switch:
// it takes a base VFS that implements [Disabler],
// which needs the type [Set] of this internal package.
package rules

import (
	"fmt"
	"slices"
	"strings"
)

// Set is a set of safety rules that are switched off.
type Set uint32

// The rules, as package vfs documents them at the lines that keep them.
const (
	// WALBeforeDB (H1) lets no byte into the database file while the WAL isn't durable.
	WALBeforeDB Set = 1 << iota
	// DBBeforeReuse (H2) keeps the WAL until the database file is durable.
	DBBeforeReuse
	// HeaderBeforeFrames (H3) makes the header of a restarted WAL durable before its first frame.
	HeaderBeforeFrames
	// EntryBeforeCommit (H4, create) makes the directory entry of a new WAL durable before a commit in it is.
	EntryBeforeCommit
	// RemovalBeforeReturn (H4, delete) makes the removal of a WAL durable before the delete returns.
	RemovalBeforeReturn
	// FailureIsFinal (H5) makes a failed sync final.
	FailureIsFinal
	// SyncCoversWritten (H6) lets a sync vouch only for the bytes that were written before it started.
	SyncCoversWritten
	// GroupWait makes commits wait for the end of the sync that they share.
	GroupWait
	// ForeignWrites syncs the WAL before a checkpoint even if this process wrote none of it.
	ForeignWrites
	// ClearClosed clears requests only of a generation that is closed.
	// Switched off, a checkpoint's database sync clears every request that waits,
	// as CN112347107B words it.
	ClearClosed
	// Refresh writes a WAL that was there at open once more before anything that depends on it is called durable.
	Refresh
	// Publish lets a checkpoint in the background say only of frames that the database file has them
	// for which that is durable. H2 alone keeps this process from starting over the WAL; other processes believe it.
	Publish
	// OneBackfill lets the background of one process at a time bring over frames, from the first page to what is published.
	OneBackfill
	// Partial makes the database file durable after a checkpoint of SQLite's own that brings over a part of the WAL.
	Partial
	// Distrust takes back, after a failed sync, what is said of the frames that the database file has.
	Distrust
	// Salts tells the generations of the WAL apart, whichever process restarts it.
	Salts
	// Doubt takes what can't be read after a failed sync for not durable.
	Doubt
	// Marker leaves word of a failed sync to other processes, and to who opens the database later.
	Marker
	// MarkerStays keeps that until all that the failed sync may have left undone is durable.
	MarkerStays
	// ForeignRestarts has a wait make the database file durable too, once another process may have started the WAL over.
	ForeignRestarts
	// LaterSyncs has those who wait for a later sync of a file go on waiting when an earlier one ends.
	LaterSyncs
	// Frugal starts a sync beside others only where that pays. Nothing that is safe hangs on it:
	// switched off, syncs run beside each other whenever they can.
	Frugal

	// All is all of them.
	All = 1<<iota - 1
)

// Disabler is a base VFS that runs with some of the rules switched off.
type Disabler interface {
	DisabledRules() Set
}

// Disabled returns the rules that v, usually a base VFS, switches off.
func Disabled(v any) Set {
	if d, ok := v.(Disabler); ok {
		return d.DisabledRules()
	}
	return 0
}

// Off reports whether all the rules of r are switched off.
func (s Set) Off(r Set) bool { return s&r == r }

var names = [...]string{
	"H1", "H2", "H3", "H4-create", "H4-delete", "H5", "H6", "group-wait", "foreign-writes", "clear-closed", "refresh",
	"publish", "one-backfill", "partial", "distrust", "salts", "doubt",
	"marker", "marker-stays", "foreign-restarts",
	"later-syncs", "frugal",
}

// Parse is the inverse of [Set.String], for a single rule.
func Parse(name string) (Set, error) {
	i := slices.Index(names[:], name)
	if i < 0 {
		return 0, fmt.Errorf("rule %q: want one of %s", name, strings.Join(names[:], ", "))
	}
	return 1 << i, nil
}

// String returns the names of the rules of s, joined by "+", or "none".
func (s Set) String() string {
	if s == 0 {
		return "none"
	}
	var of []string
	for i, name := range names {
		if s.Off(1 << i) {
			of = append(of, name)
		}
	}
	return strings.Join(of, "+")
}
