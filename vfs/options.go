package vfs

import (
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// Defaults and bounds of the options.
const (
	DefaultMaxDelay   = 50 * time.Millisecond
	DefaultMaxPending = 8 << 20

	minMaxDelay   = time.Millisecond
	maxMaxDelay   = time.Minute
	minMaxPending = 4 << 10
	maxMaxPending = 1 << 30

	allowedMaxDelay   = "a Go duration from 1ms to 1m0s"
	allowedMaxPending = "bytes, or a number with KiB or MiB, from 4KiB to 1024MiB"
	allowedCheckpoint = "background, inline or off"
)

// An Option sets how a VFS registered with [Register] behaves.
type Option func(*config)

type config struct {
	knobs
	logger *slog.Logger
	onSync func(SyncEvent)
}

// knobs are the settings of one connection.
// Each connection has its own, as it has its own PRAGMA synchronous.
type knobs struct {
	maxDelay   time.Duration
	maxPending uint64
	checkpoint CheckpointMode
	// anyFileSystem takes WAL mode to work wherever the database is.
	anyFileSystem bool
}

// CheckpointMode says who checkpoints when a commit finds enough in the WAL.
type CheckpointMode uint8

const (
	// CheckpointBackground lets the library do it, while commits go on.
	CheckpointBackground CheckpointMode = iota
	// CheckpointInline lets the commit do it, as SQLite does.
	CheckpointInline
	// CheckpointOff lets nobody do it, as PRAGMA wal_autocheckpoint=0.
	CheckpointOff
)

var checkpointModes = [...]string{"background", "inline", "off"}

// String returns "background", "inline" or "off".
func (m CheckpointMode) String() string {
	if int(m) < len(checkpointModes) {
		return checkpointModes[m]
	}
	return strconv.Itoa(int(m))
}

// Checkpoint sets who checkpoints. The URI parameter checkpoint overrides it.
// Default [CheckpointBackground].
func Checkpoint(m CheckpointMode) Option {
	return func(c *config) { c.checkpoint = m }
}

// MaxDelay sets how long after its COMMIT the sync of a commit at synchronous=NORMAL starts at the latest.
// It is due after three quarters of it.
// The URI parameter max_delay overrides it.
// From 1ms to 1m, default [DefaultMaxDelay].
//
// Less bounds the loss more closely, more needs fewer syncs.
func MaxDelay(d time.Duration) Option {
	return func(c *config) { c.maxDelay = d }
}

// MaxPending sets how many bytes of WAL may be lost at synchronous=NORMAL:
// a COMMIT returns only once no more than so many are not yet durable.
// A sync starts at half of it.
// The URI parameter max_pending overrides it.
// From 4 KiB (at which every commit waits) to 1 GiB, default [DefaultMaxPending].
func MaxPending(bytes int64) Option {
	return func(c *config) { c.maxPending = uint64(bytes) }
}

// Logger sets where failures are logged, for the databases that are first opened through this VFS.
// The default is what [SetLogger] has set, and [slog.Default] where that is nothing.
func Logger(l *slog.Logger) Option {
	return func(c *config) { c.logger = l }
}

// OnSync sets a function that is called after each sync,
// by the goroutine that did it, with no lock held. Several syncs may run at a time, and end in any order.
// The commits that wait for the sync are answered before it is called.
// It must not wait for another sync, nor use the database: not call [Flush], [WaitDurable] or [SetMode].
// Where several VFSes are registered, it is called for the databases that were first opened through its own.
// [AddEvents] sets such functions for any VFS, and for more than syncs.
func OnSync(f func(SyncEvent)) Option {
	return func(c *config) { c.onSync = f }
}

// SyncEvent describes a sync that ended.
type SyncEvent struct {
	// Err is nil, or a [*SyncError].
	Err error
	// Database is the full path of the database.
	Database string
	// File says what was synced: "wal", "db", or, after a delete, "dir".
	File string
	// Bytes is the number of bytes, written by this process, that it made durable, give or take one.
	Bytes uint64
	// Duration is how long it took.
	Duration time.Duration
}

func (c *config) log() *slog.Logger {
	if c.logger != nil {
		return c.logger
	}
	if l := defaultLogger.Load(); l != nil {
		return l
	}
	return slog.Default()
}

func newConfig(opts []Option) (*config, error) {
	c := &config{
		knobs: knobs{maxDelay: DefaultMaxDelay, maxPending: DefaultMaxPending},
	}
	for _, o := range opts {
		o(c)
	}
	if c.maxDelay < minMaxDelay || c.maxDelay > maxMaxDelay {
		return nil, &ParameterError{"MaxDelay", c.maxDelay.String(), allowedMaxDelay}
	}
	if c.maxPending < minMaxPending || c.maxPending > maxMaxPending {
		return nil, &ParameterError{"MaxPending", strconv.FormatInt(int64(c.maxPending), 10), allowedMaxPending}
	}
	if int(c.checkpoint) >= len(checkpointModes) {
		return nil, &ParameterError{"Checkpoint", c.checkpoint.String(), allowedCheckpoint}
	}
	return c, nil
}

// parse reads the URI parameters of a database.
//
// https://sqlite.org/uri.html
func (k knobs) parse(name *sqlitevfs.Filename) (knobs, error) {
	for key, values := range name.URIParameters() {
		value := values[0]
		switch key {
		case "max_delay":
			d, err := time.ParseDuration(value)
			if err != nil || d < minMaxDelay || d > maxMaxDelay {
				return k, badParameter(key, value, allowedMaxDelay)
			}
			k.maxDelay = d
		case "max_pending":
			n, ok := parseSize(value)
			if !ok || n < minMaxPending || n > maxMaxPending {
				return k, badParameter(key, value, allowedMaxPending)
			}
			k.maxPending = n
		case "checkpoint":
			i := slices.Index(checkpointModes[:], value)
			if i < 0 {
				return k, badParameter(key, value, allowedCheckpoint)
			}
			k.checkpoint = CheckpointMode(i)
		case "filesystem":
			if value != "any" {
				return k, badParameter(key, value, "any")
			}
			k.anyFileSystem = true
		}
	}
	return k, nil
}

func badParameter(name, value, allowed string) error {
	// go-sqlite3 shows the text of what is tagged CANTOPEN.
	return sqlitevfs.SystemError(&ParameterError{name, value, allowed}, sqlite3.CANTOPEN)
}

func parseSize(s string) (uint64, bool) {
	shift := 0
	if t, ok := strings.CutSuffix(s, "KiB"); ok {
		s, shift = t, 10
	} else if t, ok := strings.CutSuffix(s, "MiB"); ok {
		s, shift = t, 20
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return n << shift, err == nil
}
