package tasks

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	_ "github.com/docusnap/asyncvfs/vfs" // registers async
	"github.com/ncruces/go-sqlite3"
)

// sqliteBackend keeps tasks in an SQLite database.
type sqliteBackend struct {
	*config
	path   string
	uri    string
	async  bool    // the VFS is this project's
	noTemp bool    // no temporary files can be made
	writer *writer // nil if it reads only
	files  files   // of the writer
	pool   *readerPool

	// These are of one that reads only.
	older    string // makes up what an older file lacks
	unlocked bool   // nobody can lock the file
	held     *conn

	settled settled

	clock    stepWatch
	notifier notifier
	poller   poller // of the goroutine that polls; there is one at most
	polls    sync.WaitGroup
	closing  chan struct{}
}

const (
	// writerCache and readerCache are the caches of connections, in KiB. Those that read are many,
	// and share the operating system's.
	writerCache = 16000
	readerCache = 2000
)

func openSQLite(ctx context.Context, path string, c *config) (_ *sqliteBackend, err error) {
	if path == "" || strings.HasPrefix(path, ":") || strings.HasPrefix(path, "file:") {
		return nil, &InputError{"path", fmt.Sprintf("%q", path), "the path of a file, and not a URI"}
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	b := &sqliteBackend{config: c, path: path, closing: make(chan struct{})}
	b.pool = newReaderPool(c.readers, b.newReader)
	b.noTemp = !hasTemp()
	b.settled.durable, b.settled.running = -1, -1 // what is in a file that is opened needn't be durable
	b.clock.now, b.clock.elapsed = c.now, c.elapsed
	b.clock.look()
	if c.readOnly {
		if err := b.openReadOnly(ctx); err != nil {
			return nil, fmt.Errorf("open %s for reading: %w", path, err)
		}
		return b, nil
	}
	b.uri = fileURI(path, c.vfs, "rwc")
	conn, err := b.connect(ctx, writerCache)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := b.setUp(ctx, conn); err != nil {
		if errors.Is(err, sqlite3.READONLY) {
			err = fmt.Errorf("%w; to look at it, open it with ReadOnly", err)
		}
		return nil, fmt.Errorf("open %s: %w", path, errors.Join(err, conn.Close()))
	}
	if err := b.settleOpened(conn); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, errors.Join(err, conn.Close()))
	}
	b.uri = fileURI(path, c.vfs, "rw") // no other connection makes a file, if somebody has deleted this one
	if b.poller.seq, err = queryInt(conn, lastChange); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, errors.Join(err, conn.Close()))
	}
	if b.writer, err = newWriter(b, conn); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return b, nil
}

func fileURI(path, vfs, mode string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	query := url.Values{"mode": {mode}}
	if vfs != "" { // an empty name is that of no VFS on one of the engines
		query.Set("vfs", vfs)
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query.Encode()}).String()
}

// connect opens a connection with a cache of that many KiB.
func (b *sqliteBackend) connect(ctx context.Context, cache int) (*conn, error) {
	opened, err := sqlite3.OpenContext(ctx, b.uri)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	c := &conn{Conn: opened}
	if b.onConnect != nil {
		b.onConnect(opened)
	}
	if err := b.files.check(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.SetInterrupt(ctx)
	err = errors.Join(c.BusyTimeout(busyTimeout), c.Exec(fmt.Sprintf("PRAGMA synchronous=normal; PRAGMA cache_size=-%d", cache)))
	if err != nil {
		return nil, errors.Join(interrupted(ctx, err), c.Close())
	}
	if b.noTemp {
		// To migrate a large file takes some, to sort for its indexes. In memory it takes more of that, but it works.
		if err := c.Exec("PRAGMA temp_store=memory"); err != nil {
			return nil, errors.Join(interrupted(ctx, err), c.Close())
		}
	}
	// A cancelled context shall not break the connection later.
	c.SetInterrupt(context.Background())
	return c, nil
}

// Close closes all connections. The last one brings everything into the database file, durably.
func (b *sqliteBackend) Close() error {
	first, err := b.pool.close()
	if !first {
		return ErrClosed
	}
	b.notifier.close()
	close(b.closing)
	b.polls.Wait()
	err = errors.Join(err, b.poller.close())
	if b.held != nil {
		err = errors.Join(err, b.held.Close())
	}
	if b.writer != nil {
		err = errors.Join(err, b.writer.close())
	}
	return err
}

// interrupted returns the context's error if that is what has ended a call.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
