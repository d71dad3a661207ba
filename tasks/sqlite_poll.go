package tasks

import (
	"context"
	"errors"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// pollCache is the cache of the connection that looks for changes, in KiB. It reads the end of a log.
const pollCache = 100

// poller finds out which tasks others have changed. One look serves all who wait, and costs one statement
// while nothing is committed. Its connection stays open between two times that somebody waits.
type poller struct {
	conn               *conn
	version, last, log *sqlite3.Stmt
	// known is the database's version at the last look: it is the same until another connection has committed.
	known int64
	// seq is the entry of the log up to which all are told. It is never unknown, so that nobody is told without a reason:
	// what was committed before the first look is in the log after the entry that was the last when the store was opened.
	seq   int64
	stamp stamp // of a file that nobody can lock
}

// Notify returns a channel that is closed once the task may have changed.
func (b *sqliteBackend) Notify(id string) (changed <-chan struct{}, stop func()) {
	return b.notifier.wait(id, func() {
		b.polls.Add(1)
		go b.poll()
	})
}

// poll looks for commits of others as long as somebody waits.
func (b *sqliteBackend) poll() {
	defer b.polls.Done()
	timer := time.NewTimer(ChangePoll)
	defer timer.Stop()
	for failed := 0; ; {
		select {
		case <-timer.C:
		case <-b.closing:
		}
		if !b.notifier.goOn() {
			return
		}
		if err := b.poller.look(b); err == nil {
			failed = 0
		} else {
			// They may get the error, once. What has changed is told when it can be found out again.
			if failed == 0 {
				b.notifier.all()
			}
			failed++
		}
		timer.Reset(ChangePoll << min(failed, 6))
	}
}

// look tells those whose tasks others have changed since the last look.
func (p *poller) look(b *sqliteBackend) error {
	if b.unlocked {
		return p.lookUnlocked(b)
	}
	if err := p.connect(b); err != nil {
		return err
	}
	version, err := stepInt(p.version)
	if err != nil || version == p.known {
		return err
	}
	// What is committed from now on changes the version again.
	last, err := stepInt(p.last)
	if err != nil {
		return err
	}
	ids, ok, err := p.others(last, b.notifier.ownUpTo(last))
	if err != nil {
		return err
	}
	ok = ok && !p.conn.older // it may have no log
	if ok {
		b.notifier.changed(ids...)
	} else {
		b.notifier.all()
	}
	p.known, p.seq = version, last
	return nil
}

// others returns the tasks of the entries that aren't this backend's own.
// It reports false if the log doesn't have all of them any more.
func (p *poller) others(last int64, own []logRange) (ids []string, ok bool, err error) {
	if last < p.seq {
		return nil, false, nil // somebody has emptied the log
	}
	after := p.seq
	for _, r := range append(own, logRange{last, last}) {
		if after < r.after {
			more, ok, err := changedTasks(p.log, logRange{after, r.after})
			if err != nil || !ok {
				return nil, false, err
			}
			ids = append(ids, more...)
		}
		after = max(after, r.upTo)
	}
	return ids, true, nil
}

// connect opens the connection unless it is open.
func (p *poller) connect(b *sqliteBackend) (err error) {
	if p.conn != nil {
		return nil
	}
	c, err := b.connect(context.Background(), pollCache)
	if err != nil {
		return err
	}
	if b.readOnly {
		if err := c.makeUp(b.older); err != nil {
			return errors.Join(err, c.Close())
		}
	}
	p.conn, p.known = c, -1
	for _, s := range []struct {
		stmt **sqlite3.Stmt
		sql  string
	}{
		{&p.version, "PRAGMA data_version"},
		{&p.last, lastChange},
		{&p.log, changesBetween},
	} {
		if *s.stmt, _, err = c.PrepareFlags(s.sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return errors.Join(err, p.close())
		}
	}
	return nil
}

func (p *poller) close() error {
	c := p.conn
	if c == nil {
		return nil
	}
	err := errors.Join(p.version.Close(), p.last.Close(), p.log.Close(), c.Close())
	p.conn, p.version, p.last, p.log = nil, nil, nil, nil
	return err
}

// stepInt returns the integer that a statement finds.
func stepInt(s *sqlite3.Stmt) (n int64, err error) {
	if s.Step() {
		n = s.ColumnInt64(0)
	}
	return n, errors.Join(s.Err(), s.Reset())
}
