package tasks

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// DefaultMaxResult is how large a result may be, in bytes of JSON.
const DefaultMaxResult = 16 << 20

// config is what the options have set. It doesn't change after that.
type config struct {
	types     []Type
	maxResult int
	relaxed   bool
	workers   workerConfig
	vfs       string
	now       func() time.Time
	readers   int
	readOnly  bool
	process   string
	onConnect func(*sqlite3.Conn) // for tests
	caching   cacheConfig
	hooks     hooks
	trackUse  bool
	commits   func() error         // of a test, called before each; its error becomes the commit's
	elapsed   func() time.Duration // by a clock that nobody sets; nil if there is none
	boot      func() (host string, at time.Duration, ok bool)
}

// Option sets how a store behaves.
type Option func(*config)

// Types makes the store accept other types than [Document], [Form] and [FormFilling].
func Types(types ...Type) Option {
	return func(c *config) { c.types = append(c.types, types...) }
}

// MaxResult sets how large a result may be, in bytes of JSON, from 1 byte to 512 MiB. Default [DefaultMaxResult].
func MaxResult(bytes int) Option {
	return func(c *config) { c.maxResult = bytes }
}

// RelaxedByDefault makes calls behave as with [Relaxed] unless they have the option [Durable].
func RelaxedByDefault() Option {
	return func(c *config) { c.relaxed = true }
}

// VFS sets the VFS that the database is opened with, by the name that it was registered by. Default "async"; the empty name is the operating system's.
func VFS(name string) Option {
	return func(c *config) { c.vfs = name }
}

// ReadOnly opens a database to look at it, also one that can't be written, is in a folder that can't be, or is a backup.
// The file has to be there. Calls that change something return [ErrReadOnly], and nothing is migrated:
// of a file of the Python module or of an older version, what it has can be seen.
// If neither the file's folder nor its -shm file can be written, what is in a -wal file can't be read, and Open says so;
// nobody is locked out then, and each call opens the file anew.
func ReadOnly() Option { return func(c *config) { c.readOnly = true } }

// AsProcess makes the store act as a process of its own, for tests of what happens when one dies: see [Store.Claim].
func AsProcess() Option { return func(c *config) { c.process = rand.Text() } }

// Clock sets what tells the time. Default [time.Now]. With a time outside of the years 1970 to 9999, nothing can be changed.
func Clock(now func() time.Time) Option {
	return func(c *config) { c.now, c.elapsed, c.boot = now, nil, noBootClock }
}

// DefaultReaders is how many connections a store reads with.
const DefaultReaders = 8

// Readers sets how many connections a store reads with at most, from 1 to 1000. Default [DefaultReaders].
// A call that finds all of them busy waits for one, or until its context is done. Each has up to 2 MB of cache
// and three descriptors. A store has two more connections: one writes, one looks for what other processes change.
func Readers(n int) Option {
	return func(c *config) { c.readers = n }
}

func newConfig(opts []Option) (*config, error) {
	c := &config{
		types:     []Type{Document, Form, FormFilling},
		maxResult: DefaultMaxResult,
		vfs:       "async",
		workers:   defaultWorkers,
		now:       time.Now,
		readers:   DefaultReaders,
		caching:   defaultCache,
		elapsed:   sinceStart,
		boot:      bootClock,
		process:   process,
	}
	for _, o := range opts {
		o(c)
	}
	if c.maxResult < 1 || c.maxResult > 512<<20 {
		return nil, &InputError{"MaxResult", strconv.Itoa(c.maxResult), "1 to 536870912 (512 MiB)"}
	}
	if c.readers < 1 || c.readers > 1000 {
		return nil, &InputError{"Readers", strconv.Itoa(c.readers), "1 to 1000"}
	}
	for _, t := range c.types {
		if checkID(string(t)) != nil {
			return nil, &InputError{"Types", strconv.Quote(string(t)), "1 to 255 bytes of UTF-8 without control characters"}
		}
	}
	if c.readOnly {
		c.trackUse = false
	}
	return c, cmp.Or(c.workers.check(), c.checkCache())
}

func (c *config) checkType(t Type) error {
	if !slices.Contains(c.types, t) {
		return &InputError{"type", strconv.Quote(string(t)), fmt.Sprintf("one of %q", c.types)}
	}
	return nil
}

// checkClock keeps times out of the table that JSON has no form for, even after the longest lease.
func (c *config) checkClock() error {
	if now := c.now(); now.Unix() < 0 || now.Unix() > maxTime-int64(MaxLease/time.Second) {
		return &InputError{"Clock", now.String(), "a time in the years 1970 to 9999"}
	}
	return nil
}

// CallOption sets how one call behaves.
type CallOption func(*call)

type call struct {
	relaxed   bool
	force     bool
	cancel    bool
	text      string
	new       *Creation
	input     any
	fromCache bool
	err       error
}

// Durable makes the call return once its change is durable. It is the default.
func Durable() CallOption { return func(c *call) { c.relaxed = false } }

// Relaxed makes the call return as soon as its change is made.
// A power cut may lose it for a bounded time after that: see Durability in the package documentation.
func Relaxed() CallOption { return func(c *call) { c.relaxed = true } }

// Force makes the call take the task from any status to any other.
func Force() CallOption { return func(c *call) { c.force = true } }

// ErrorText is kept with a task that is set to [Error]: the first [MaxErrorText] bytes,
// with a question mark for what isn't UTF-8, and for NUL.
func ErrorText(text string) CallOption { return func(c *call) { c.text = text } }

func (c *config) call(opts []CallOption) call {
	k := call{relaxed: c.relaxed}
	for _, o := range opts {
		o(&k)
	}
	return k
}
