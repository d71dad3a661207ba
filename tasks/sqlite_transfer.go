package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
)

var _ TransferBackend = (*sqliteBackend)(nil)

const recordColumns = infoColumns + ", result, delayed_at, suspect, max_attempts, backoff, timeout, unique_key, rowid"

// readableByRow is readable for who walks the table in the order of its rows: SQLite shall not take the index of the times instead.
var readableByRow = strings.ReplaceAll(readable, "created_at", "+created_at")

// Export walks the table in the order of its rows.
func (b *sqliteBackend) Export(ctx context.Context, after Record) ([]Record, error) {
	if after.ID == "" {
		after.Seq = math.MinInt64
	}
	return b.records(ctx, "SELECT "+recordColumns+" FROM tasks WHERE rowid>? AND "+readableByRow+" ORDER BY rowid LIMIT ?", transferBytes, after.Seq, transferRows)
}

// Records looks for each id.
func (b *sqliteBackend) Records(ctx context.Context, ids []string) ([]Record, error) {
	raw, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	return b.records(ctx, "SELECT "+recordColumns+" FROM tasks WHERE id IN (SELECT value FROM json_each(?)) AND "+readable, 1<<62, string(raw))
}

// records reads tasks in one transaction, up to a number of bytes.
func (b *sqliteBackend) records(ctx context.Context, sql string, most int, args ...any) (list []Record, err error) {
	err = b.read(ctx, func(r *reader) error {
		if err := r.conn.run("BEGIN"); err != nil {
			return err
		}
		defer func() {
			r.conn.SetInterrupt(context.Background())
			r.conn.run("COMMIT")
		}()
		list = nil
		s, err := r.conn.statement(sql)
		if err != nil {
			return err
		}
		defer r.conn.done(sql, s)
		bind(s, args)
		for bytes := 0; bytes < most && s.Step(); {
			t, err := record(s)
			if err == nil {
				err = t.rest(r.conn)
			}
			if err != nil {
				return fmt.Errorf("task %q: %w", t.ID, err)
			}
			bytes += len(t.Raw) + len(t.New.Input)
			list = append(list, t)
		}
		return s.Err()
	})
	return list, err
}

func record(s *sqlite3.Stmt) (t Record, err error) {
	if t.Info, err = info(s); err != nil {
		return t, err
	}
	if raw := s.ColumnText(infoCount); raw != "" {
		t.Raw = json.RawMessage(raw)
	}
	t.DelayedAt, t.Suspect = milliseconds(s, infoCount+1), s.ColumnBool(infoCount+2)
	t.New = Creation{Owner: t.Owner, Priority: t.Priority, Labels: t.Labels.Map(), MaxAttempts: s.ColumnInt(infoCount + 3),
		Backoff: time.Duration(s.ColumnInt64(infoCount+4)) * time.Millisecond, Timeout: time.Duration(s.ColumnInt64(infoCount+5)) * time.Millisecond,
		UniqueKey: s.ColumnText(infoCount + 6)}
	t.Seq = s.ColumnInt64(infoCount + 7)
	return t, nil
}

// rest reads what other tables have.
func (t *Record) rest(c *conn) error {
	id := []any{t.ID}
	if err := each(c, selectInput, id, func(s *sqlite3.Stmt) error {
		t.New.Input = json.RawMessage(s.ColumnText(0))
		return nil
	}); err != nil {
		return err
	}
	if err := each(c, "SELECT attempt, started_at, ended_at, error, uncounted FROM task_attempts WHERE id=? AND attempt<=? ORDER BY attempt",
		[]any{t.ID, t.Info.Attempts}, func(s *sqlite3.Stmt) error {
			t.Attempts = append(t.Attempts, Attempt{s.ColumnInt(0), milliseconds(s, 1), milliseconds(s, 2), s.ColumnText(3), s.ColumnBool(4)})
			return nil
		}); err != nil {
		return err
	}
	if err := each(c, "SELECT step, result FROM task_steps WHERE id=?", id, func(s *sqlite3.Stmt) error {
		if t.Steps == nil {
			t.Steps = map[string]json.RawMessage{}
		}
		t.Steps[s.ColumnText(0)] = json.RawMessage(s.ColumnText(1))
		return nil
	}); err != nil {
		return err
	}
	if err := each(c, "SELECT used_at FROM task_uses WHERE id=?", id, func(s *sqlite3.Stmt) error {
		t.UsedAt = time.Unix(s.ColumnInt64(0), 0).UTC()
		return nil
	}); err != nil {
		return err
	}
	return each(c, "SELECT lease, worker, leased_at, lease_until, suspect, shared FROM task_leases WHERE id=?", id, func(s *sqlite3.Stmt) error {
		t.Lease = &LeaseRecord{s.ColumnText(0), s.ColumnText(1), milliseconds(s, 2), milliseconds(s, 3), s.ColumnBool(4), s.ColumnBool(5)}
		return nil
	})
}

// importAtOnce is how many tasks are written before others get their turn.
const importAtOnce = 50

// Import writes the tasks in small transactions, and waits for the disk once.
func (b *sqliteBackend) Import(ctx context.Context, list []Record) error {
	for len(list) > 0 {
		n, bytes := 0, 0
		for n < len(list) && n < importAtOnce && bytes < batchBytes/4 {
			bytes += len(list[n].Raw) + len(list[n].New.Input)
			n++
		}
		part := list[:n]
		list = list[n:]
		if err := b.largeJob(ctx, false, bytes, func(c *conn) error {
			for _, t := range part {
				if err := t.write(c); err != nil {
					return fmt.Errorf("task %q: %w", t.ID, err)
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return b.Sync(ctx)
}

func (t *Record) write(c *conn) error {
	null := func(v time.Time, n int64) any {
		if v.IsZero() {
			return nil
		}
		return n
	}
	milli := func(v time.Time) any { return null(v, v.UnixMilli()) }
	text := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	statements := []more{
		{"DELETE FROM tasks WHERE id=?", []any{t.ID}},
		{`INSERT INTO tasks(id, type, status, created_at, updated_at, attempts, error, uncounted, cancelled, started_at, ended_at, run_at, owner, priority,
			labels, done, total, note, result, delayed_at, suspect, max_attempts, backoff, timeout, unique_key)
			VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			[]any{t.ID, string(t.Type), string(t.Status), t.CreatedAt.Unix(), null(t.UpdatedAt, t.UpdatedAt.Unix()), t.Info.Attempts, text(t.Error),
				t.Uncounted, boolInt(t.Cancelled), milli(t.StartedAt), milli(t.EndedAt), milli(t.RunAt), t.Owner, t.Priority, text(t.Labels.text()),
				t.Done, t.Total, text(t.Note), text(string(t.Raw)), milli(t.DelayedAt), boolInt(t.Suspect), t.New.MaxAttempts,
				t.New.Backoff.Milliseconds(), t.New.Timeout.Milliseconds(), text(t.New.UniqueKey)}},
	}
	if t.New.Input != nil {
		statements = append(statements, more{"INSERT INTO task_inputs(id, input) VALUES(?, ?)", []any{t.ID, string(t.New.Input)}})
	}
	for name, value := range t.Labels.All() {
		statements = append(statements, more{insertLabel,
			[]any{name, value, t.CreatedAt.Unix(), t.ID, t.Owner, string(t.Type), string(t.Status)}})
	}
	for _, a := range t.Attempts {
		statements = append(statements, more{`INSERT INTO task_attempts(id, attempt, started_at, ended_at, error, uncounted) VALUES(?, ?, ?, ?, ?, ?)`,
			[]any{t.ID, a.Number, a.StartedAt.UnixMilli(), milli(a.EndedAt), text(a.Error), boolInt(a.Uncounted)}})
	}
	for step, result := range t.Steps {
		statements = append(statements, more{"INSERT INTO task_steps(id, step, result) VALUES(?, ?, ?)", []any{t.ID, step, string(result)}})
	}
	if !t.UsedAt.IsZero() {
		statements = append(statements, more{"INSERT INTO task_uses(id, used_at) VALUES(?, ?)", []any{t.ID, t.UsedAt.Unix()}})
	}
	if l := t.Lease; l != nil {
		statements = append(statements, more{`INSERT INTO task_leases(id, type, worker, lease, leased_at, lease_until, suspect, shared)
			VALUES(?, ?, ?, ?, ?, ?, ?, ?)`, []any{t.ID, string(t.Type), l.Worker, l.Lease, l.LeasedAt.UnixMilli(), l.Until.UnixMilli(),
			boolInt(l.Suspect), boolInt(l.Shared)}})
	}
	for _, m := range statements {
		if _, err := execute(c, m.sql, m.args); err != nil {
			return err
		}
	}
	return nil
}

// ExportCache leaves out leases.
func (b *sqliteBackend) ExportCache(ctx context.Context, after CacheKey) (list []CacheRecord, err error) {
	bytes := 0
	err = b.query(ctx, `SELECT type, key, result, created_at, expires_at, used_at, uses FROM task_cache
		WHERE (type, key)>(?, ?) AND result IS NOT NULL AND typeof(type)='text' AND typeof(key)='text' ORDER BY type, key LIMIT ?`,
		[]any{string(after.Type), after.Key, transferRows}, func(s *sqlite3.Stmt) error {
			if bytes > transferBytes {
				return nil
			}
			r := CacheRecord{CacheKey: CacheKey{Type(s.ColumnText(0)), s.ColumnText(1)}, CacheEntry: entryOf(s.ColumnText(2)),
				CreatedAt: milliseconds(s, 3), ExpiresAt: milliseconds(s, 4), UsedAt: milliseconds(s, 5), Uses: s.ColumnInt(6)}
			bytes += len(r.Raw)
			list = append(list, r)
			return nil
		})
	return list, err
}

// ImportCache is one transaction.
func (b *sqliteBackend) ImportCache(ctx context.Context, list []CacheRecord) error {
	return b.job(ctx, true, func(c *conn) error {
		for _, r := range list {
			text := string(r.Raw)
			if r.State == CacheFailed {
				text = cacheFailed + text
			}
			var expires any
			if !r.ExpiresAt.IsZero() {
				expires = r.ExpiresAt.UnixMilli()
			}
			if _, err := execute(c, `INSERT OR REPLACE INTO task_cache(type, key, result, created_at, expires_at, used_at, uses) VALUES(?, ?, ?, ?, ?, ?, ?)`,
				[]any{string(r.Type), r.Key, text, r.CreatedAt.UnixMilli(), expires, r.UsedAt.UnixMilli(), r.Uses}); err != nil {
				return err
			}
		}
		return nil
	})
}
