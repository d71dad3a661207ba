package tasks

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// writer makes the changes of all callers. Those that come while it is busy share the next transaction,
// and those that have to be durable share a sync, which runs while the next transaction is made.
type writer struct {
	*sqliteBackend
	conn          *conn
	stmt          [OpDelete + 1]*sqlite3.Stmt
	get           *sqlite3.Stmt
	begin, commit *sqlite3.Stmt
	last, log     *sqlite3.Stmt // of the log of changes
	fullAt        time.Time     // when the disk was full, and no room could be made

	mu      sync.Mutex
	queue   []*request // guarded by mu
	synced  []*request // made, and to be answered once durable; guarded by mu
	made    int64      // the last change of the log that this backend has committed; guarded by mu
	closed  bool       // guarded by mu
	wake    chan struct{}
	sync    chan struct{}
	stopped chan struct{}
	done    chan struct{}
}

func newWriter(b *sqliteBackend, c *conn) (*writer, error) {
	w := &writer{
		sqliteBackend: b, conn: c,
		wake: make(chan struct{}, 1), sync: make(chan struct{}, 1),
		stopped: make(chan struct{}), done: make(chan struct{}),
	}
	// What a statement with triggers would take back if it failed is more than SQLite keeps in memory by itself, so that it made a file in each transaction.
	// It is little here: no call changes more at once than what it was given, or than it does in a few milliseconds.
	if err := c.Exec("PRAGMA temp_store=memory"); err != nil {
		return nil, errors.Join(err, w.closeConn())
	}
	for op, sql := range statements {
		s, _, err := c.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT)
		if err != nil {
			return nil, errors.Join(err, w.closeConn())
		}
		w.stmt[op] = s
	}
	get, _, err := c.PrepareFlags(statusOf, sqlite3.PREPARE_PERSISTENT)
	if err != nil {
		return nil, errors.Join(err, w.closeConn())
	}
	w.get = get
	if w.last, _, err = c.PrepareFlags(lastChange, sqlite3.PREPARE_PERSISTENT); err != nil {
		return nil, errors.Join(err, w.closeConn())
	}
	if w.log, _, err = c.PrepareFlags(changesBetween, sqlite3.PREPARE_PERSISTENT); err != nil {
		return nil, errors.Join(err, w.closeConn())
	}
	if w.begin, _, err = c.PrepareFlags("BEGIN IMMEDIATE", sqlite3.PREPARE_PERSISTENT); err != nil {
		return nil, errors.Join(err, w.closeConn())
	}
	if w.commit, _, err = c.PrepareFlags("COMMIT", sqlite3.PREPARE_PERSISTENT); err != nil {
		return nil, errors.Join(err, w.closeConn())
	}
	if w.sqliteBackend.files, err = filesOf(c); err != nil {
		return nil, errors.Join(err, w.closeConn())
	}
	go w.write()
	go w.syncs()
	return w, nil
}

// write makes the changes, one transaction after the other.
func (w *writer) write() {
	defer close(w.stopped)
	for {
		// Those who were just answered often come back at once: they share this transaction.
		runtime.Gosched()
		batch, closed := w.take()
		if len(batch) == 0 {
			if closed {
				return
			}
			<-w.wake
			continue
		}
		wrote, err := w.transaction(batch)
		if fullDisk(err) && w.makeRoom() || errors.Is(err, errTwice) {
			wrote, err = w.transaction(batch)
		}
		if errors.Is(err, errNotBegun) {
			batch = w.again(batch, time.Now())
		}
		if err == nil {
			w.tell(wrote)
		}
		sync := false
		w.mu.Lock()
		if err == nil {
			w.made = wrote.upTo
		}
		for _, r := range batch {
			if err != nil {
				for i := range r.errs {
					r.errs[i] = err
				}
			}
			switch {
			case err == nil && r.durable && w.async:
				w.synced = append(w.synced, r)
				sync = true
			case err == nil && r.durable:
				r.answer(unknown(w.files.there()))
			default:
				close(r.done)
			}
		}
		w.mu.Unlock()
		if sync {
			signal(w.sync)
		}
	}
}

// transaction makes the changes of a batch, each by itself. It returns an error if none of them is made.
// It returns what the log of changes has of it.
func (w *writer) transaction(batch []*request) (wrote logRange, err error) {
	for _, r := range batch {
		r.errs = make([]error, max(1, len(r.changes)))
	}
	if err := w.lock(batch); err != nil {
		return wrote, err
	}
	if wrote.after, err = stepInt(w.last); err != nil {
		return logRange{}, w.rollback(err)
	}
	if len(batch) == 1 && batch[0].job != nil {
		// All of it can be rolled back: a savepoint would keep what it changes in a temporary file.
		if err := batch[0].job(w.conn); err != nil {
			return logRange{}, w.rollback(err)
		}
		batch = nil
	}
	now := w.now()
	for _, r := range batch {
		if r.job != nil {
			r.errs[0] = savepoint(w.conn, r.job)
		}
		for i, c := range r.changes {
			if more := c.more(now); more == nil {
				r.errs[i] = w.change(c, now)
			} else {
				r.errs[i] = savepoint(w.conn, func(*conn) error { return w.changeMore(c, now, more) })
			}
		}
		if w.conn.GetAutocommit() {
			// SQLite has rolled all of it back.
			return logRange{}, errors.Join(r.errs...)
		}
	}
	if wrote.upTo, err = stepInt(w.last); err != nil {
		return logRange{}, w.rollback(err)
	}
	if w.commits != nil {
		if err := w.commits(); err != nil {
			return logRange{}, w.rollback(err)
		}
	}
	if err := w.commit.Exec(); err != nil {
		return logRange{}, w.rollback(err)
	}
	return wrote, nil
}

// errTwice is what a test has a commit fail with: the transaction is made once more.
var errTwice = errors.New("made once more")

// errNotBegun is what it is if somebody else has held the write lock for too long.
var errNotBegun = fmt.Errorf("%w: the database is locked by another", ErrBusy)

// lock begins a transaction, for which it waits until the first of the calls has waited for [busyTimeout],
// in the queue and here.
func (w *writer) lock(batch []*request) error {
	start := time.Now()
	patience := max(busyTimeout-start.Sub(batch[0].since), time.Millisecond)
	if err := w.conn.BusyTimeout(patience); err != nil {
		return err
	}
	err := w.begin.Exec()
	if errors.Is(err, sqlite3.BUSY) {
		if time.Since(start) < patience {
			// SQLite doesn't wait where it sees a deadlock. Those who go on waiting don't try without a pause.
			time.Sleep(prepareAgain)
		}
		return fmt.Errorf("%w for %v: %w", errNotBegun, busyTimeout, err)
	}
	return err
}

// rollback ends a transaction that has failed, and returns why.
func (w *writer) rollback(err error) error {
	if !w.conn.GetAutocommit() {
		err = errors.Join(err, w.conn.Exec("ROLLBACK"))
	}
	return err
}

// tell tells those who wait for what a transaction has changed. Who begins to wait later sees it at the first look.
func (w *writer) tell(wrote logRange) {
	if wrote.after >= wrote.upTo || !w.notifier.looking() {
		return
	}
	ids, ok, err := changedTasks(w.log, wrote)
	if err != nil || !ok {
		w.notifier.all()
		return
	}
	// The poller doesn't tell them again.
	w.notifier.wrote(wrote)
	w.notifier.changed(ids...)
}

// savepoint runs a job, of which nothing is left if it fails.
func savepoint(c *conn, job func(*conn) error) error {
	if err := c.run("SAVEPOINT job"); err != nil {
		return err
	}
	err := job(c)
	if err != nil && !c.GetAutocommit() {
		err = errors.Join(err, c.run("ROLLBACK TO job"))
	}
	if c.GetAutocommit() {
		return err // SQLite has rolled back the whole transaction
	}
	return errors.Join(err, c.run("RELEASE job"))
}

// change makes one change. A statement that fails has changed nothing.
func (w *writer) change(c Change, now time.Time) (err error) {
	s := w.stmt[c.Op]
	defer func() {
		if e := s.Reset(); err == nil {
			err = e
		}
	}()
	bind(s, c.args(now))
	s.Step()
	if err := s.Err(); err != nil {
		return err
	}
	if w.conn.Changes() > 0 {
		return nil
	}
	return c.refused(w)
}

// changeMore makes a change that takes more than one statement.
func (w *writer) changeMore(c Change, now time.Time, list []more) error {
	if err := w.change(c, now); err != nil {
		return err
	}
	for _, m := range list {
		if _, err := execute(w.conn, m.sql, m.args); err != nil {
			return err
		}
	}
	return nil
}

// exec runs a statement.
func (w *writer) exec(sql string, args []any) (int, error) { return execute(w.conn, sql, args) }

// text has the statement ready that is asked for most.
func (w *writer) text(sql string, args []any) (string, bool, error) {
	if sql != statusOf {
		return w.conn.text(sql, args)
	}
	defer w.get.Reset()
	bind(w.get, args)
	if w.get.Step() {
		return w.get.ColumnText(0), true, nil
	}
	return "", false, w.get.Err()
}

// syncs answers those whose changes have to be durable. While a sync runs, others come to share the next.
func (w *writer) syncs() {
	defer close(w.done)
	for {
		// The writer may be about to end another transaction, which can share this sync.
		runtime.Gosched()
		w.mu.Lock()
		batch, made := w.synced, w.made
		w.synced = nil
		w.mu.Unlock()
		if len(batch) == 0 {
			select {
			case <-w.sync:
			case <-w.stopped:
				w.mu.Lock()
				left := len(w.synced)
				w.mu.Unlock()
				if left == 0 {
					return
				}
			}
			continue
		}
		for _, r := range batch {
			made = max(made, r.seen)
		}
		w.settled.begin(made)
		err := unknown(w.files.durable())
		w.settled.end(err)
		for _, r := range batch {
			r.answer(err)
		}
	}
}

// close makes what is queued, and closes the connection.
func (w *writer) close() error {
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if closed {
		return ErrClosed
	}
	signal(w.wake)
	<-w.done
	return w.closeConn()
}

func (w *writer) closeConn() error {
	for _, s := range append(w.stmt[:], w.get, w.begin, w.commit, w.last, w.log) {
		s.Close()
	}
	return w.conn.Close()
}
