package vfs

import (
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// DSN returns the name by which [database/sql.Open], with the driver "sqlite3", and [sqlite3.Open] open a database
// with the settings that are recommended:
//
//   - vfs=async;
//   - PRAGMA busy_timeout of 10 s, instead of none: who finds the write lock taken waits in a queue;
//   - PRAGMA journal_mode=wal;
//   - PRAGMA synchronous=full. See [Synchronous];
//   - _txlock=immediate, for [database/sql.DB.Begin]: a transaction that reads first and writes then can't wait for the lock.
//     Begin those that only read with ReadOnly of [database/sql.TxOptions].
//
// The path is a path, not a URI, of any characters: a question mark in it is one. As in SQLite, ":memory:" is a database in memory.
// With Parameter("mode", "ro") the journal mode is left as it is, and transactions are deferred.
// Options change these settings and add others. Names and values aren't checked before the database is opened.
//
// [sqlite3.Open]: https://pkg.go.dev/github.com/ncruces/go-sqlite3#Open
func DSN(path string, opts ...DSNOption) string {
	d := dsn{
		params: url.Values{"vfs": {"async"}},
		level:  Full,
	}
	for _, o := range opts {
		o(&d)
	}
	return d.name(path)
}

// A DSNOption changes what [DSN] returns.
type DSNOption func(*dsn)

type dsn struct {
	params  url.Values
	pragmas []string // as in _pragma
	level   Level
}

// Level is a level of PRAGMA synchronous.
//
// https://sqlite.org/pragma.html#pragma_synchronous
type Level uint8

// The levels, as SQLite numbers them.
const (
	Off Level = iota
	Normal
	Full
	Extra
)

// String returns "off", "normal", "full" or "extra".
func (l Level) String() string {
	return [...]string{"off", "normal", "full", "extra"}[min(l, Extra)]
}

// Synchronous sets the level. Default [Full]. What each guarantees: see the package documentation.
func Synchronous(l Level) DSNOption {
	return func(d *dsn) { d.level = l }
}

// Pragma adds a PRAGMA that each connection runs when it is opened, such as Pragma("cache_size", "-8000").
// Those that are added come in their order, before journal_mode and after busy_timeout, so that page_size and keys have an effect.
// One of the recommended ones is replaced.
func Pragma(name, value string) DSNOption {
	return func(d *dsn) { d.pragmas = append(d.pragmas, name+"("+value+")") }
}

// Parameter sets a URI parameter, such as Parameter("max_delay", "10ms"), Parameter("vfs", "mine") or Parameter("_timefmt", "sqlite").
// With the name "_pragma" it adds a PRAGMA.
func Parameter(name, value string) DSNOption {
	return func(d *dsn) {
		if name == "_pragma" {
			d.pragmas = append(d.pragmas, value)
		} else {
			d.params.Set(name, value)
		}
	}
}

func (d *dsn) name(path string) string {
	has := func(name string) bool {
		return slices.ContainsFunc(d.pragmas, func(p string) bool { return pragmaName(p) == name })
	}
	var pragmas []string
	if !has("busy_timeout") {
		pragmas = append(pragmas, "busy_timeout(10000)")
	}
	pragmas = append(pragmas, d.pragmas...)
	// Who may only read can neither change the journal mode nor have the write lock.
	reads := d.params.Get("mode") == "ro" || d.params.Has("immutable")
	if !reads && !has("journal_mode") {
		pragmas = append(pragmas, "journal_mode(wal)")
	}
	if !has("synchronous") {
		pragmas = append(pragmas, "synchronous("+d.level.String()+")")
	}
	if !d.params.Has("_txlock") && !reads {
		d.params.Set("_txlock", "immediate")
	}
	d.params["_pragma"] = pragmas
	// SQLite doesn't take a plus sign for a space.
	return "file:" + uriPath(path) + "?" + strings.ReplaceAll(d.params.Encode(), "+", "%20")
}

// pragmaName returns the name in what a _pragma says, without a schema.
func pragmaName(pragma string) string {
	name, _, _ := strings.Cut(pragma, "(")
	name, _, _ = strings.Cut(name, "=")
	if _, after, ok := strings.Cut(name, "."); ok {
		name = after
	}
	return strings.ToLower(strings.TrimSpace(name))
}

// uriPath returns a path as it is in a URI after the scheme.
//
// https://sqlite.org/uri.html
func uriPath(path string) string {
	slashed := filepath.ToSlash(path)
	switch {
	case filepath.VolumeName(path) != "" && !strings.HasPrefix(slashed, "/"):
		slashed = "///" + slashed // C:/
	case strings.HasPrefix(slashed, "/"):
		slashed = "//" + slashed // or two slashes would begin an authority
	}
	return (&url.URL{Path: slashed}).EscapedPath()
}

// TestDB returns the name of a database for a test to use, as [DSN] does: a file in a directory of its own,
// which is removed when the test and all its subtests are over. Close the database before that.
// Parameters, PRAGMAs among them, are set as by [Parameter].
//
//	func TestSomething(t *testing.T) {
//		t.Parallel()
//		db, err := sql.Open("sqlite3", vfs.TestDB(t, url.Values{"_pragma": {"cache_size(-8000)"}}))
//		if err != nil {
//			t.Fatal(err)
//		}
//		defer db.Close()
//		// ...
//	}
//
// tb is a [testing.TB]. It is named by what is needed of it, so that programs don't get that package.
func TestDB(tb interface {
	Helper()
	TempDir() string
}, params ...url.Values) string {
	tb.Helper()
	var opts []DSNOption
	for _, values := range params {
		for name, list := range values {
			for _, value := range list {
				opts = append(opts, Parameter(name, value))
			}
		}
	}
	return DSN(filepath.Join(tb.TempDir(), "test.db"), opts...)
}
