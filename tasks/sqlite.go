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
	async  bool // the VFS is this project's
	writer *writer
	// readers are connections that nobody uses at the moment. Each takes part in no transaction.
	readers chan *reader
	// reading is held while a connection is lent out.
	reading sync.RWMutex
	closed  bool // +checklocks:reading

	notifier notifier
	polls    sync.WaitGroup
	closing  chan struct{}
}

// readers is how many connections a store keeps for reading.
const readers = 8

func openSQLite(ctx context.Context, path string, c *config) (_ *sqliteBackend, err error) {
	if path == "" || strings.HasPrefix(path, ":") {
		return nil, &InputError{"path", fmt.Sprintf("%q", path), "the path of a file"}
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	b := &sqliteBackend{config: c, path: path, readers: make(chan *reader, readers), closing: make(chan struct{})}
	b.uri = fileURI(path, c.vfs)
	conn, err := b.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := b.setUp(ctx, conn); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, errors.Join(err, conn.Close()))
	}
	if b.writer, err = newWriter(b, conn); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return b, nil
}

func fileURI(path, vfs string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: "vfs=" + url.QueryEscape(vfs)}).String()
}

// connect opens a connection.
func (b *sqliteBackend) connect(ctx context.Context) (*sqlite3.Conn, error) {
	c, err := sqlite3.OpenContext(ctx, b.uri)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	c.SetInterrupt(ctx)
	err = errors.Join(c.BusyTimeout(busyTimeout), c.Exec("PRAGMA synchronous=normal; PRAGMA cache_size=-16000"))
	if err != nil {
		return nil, errors.Join(interrupted(ctx, err), c.Close())
	}
	// A cancelled context shall not break the connection later.
	c.SetInterrupt(context.Background())
	return c, nil
}

// Close closes all connections. The last one brings everything into the database file, durably.
func (b *sqliteBackend) Close() error {
	b.reading.Lock()
	closed := b.closed
	b.closed = true
	b.reading.Unlock()
	if closed {
		return ErrClosed
	}
	b.notifier.mu.Lock()
	close(b.closing)
	b.notifier.mu.Unlock()
	b.polls.Wait()
	var err error
	for range len(b.readers) {
		err = errors.Join(err, (<-b.readers).close())
	}
	return errors.Join(err, b.writer.close())
}

// interrupted returns the context's error if that is what has ended a call.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
