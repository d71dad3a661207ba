package postgres

import (
	"crypto/rand"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/jackc/pgx/v5"
)

func newName() string { return rand.Text() }

// plan makes a transaction's statements of requests: one for each kind of change, in rounds.
// No task is in a round twice, so that what is done to one is done in order.
func (l *lane) plan(batch []*request) (steps []step) {
	l.backend.mu.Lock()
	writer := l.writer
	l.backend.mu.Unlock()
	r := round{now: l.now(), writer: writer}
	synced := false
	for _, q := range batch {
		q.errs = make([]error, q.size())
		for i, c := range q.changes {
			if !r.takes(c) {
				steps = r.end(steps)
			}
			r.change(c, &q.errs[i])
		}
		switch {
		case q.finish != nil:
			if r.seen[q.finish.ID] {
				steps = r.end(steps)
			}
			r.finish(*q.finish, &q.errs[0])
		case q.job != nil:
			steps = r.end(steps)
			steps = append(steps, q.job.step(r, &q.errs[0]))
		case q.sync && !synced:
			synced = true // a commit that writes nothing isn't waited for
			steps = append(steps, step{sql: logSync, args: []any{writer}})
		}
	}
	return r.end(steps)
}

// logSync is an entry of the log that names no task: something is to be made durable.
const logSync = "INSERT INTO @task_changes(xid, writer, ids) VALUES(pg_current_xact_id()::text::bigint, $1, '{}')"

// step makes a statement of a job. Its first arguments are the time and the writer.
func (j *job) step(r round, to *error) step {
	found := false
	if j.reset != nil {
		j.reset()
	}
	return step{sql: j.sql, args: append([]any{r.now, r.writer}, j.args...), ids: j.ids,
		row: func(rows pgx.Rows) error {
			found = true
			if j.row == nil {
				return nil
			}
			return j.row(rows)
		},
		end: func() error {
			if !found {
				*to = j.none
			}
			return nil
		}}
}

// round is a set of changes that may be made in any order.
type round struct {
	now    *int64
	writer string
	seen   map[string]bool // tasks, and keys as "owner\x00key"
	keyed  bool            // it creates a task with a unique key
	frees  bool            // it deletes a task, which may have had one

	creates  creates
	updates  updates
	deletes  deletes
	finishes finishes
}

func keyOf(c tasks.Change) string {
	if c.Op == tasks.OpCreate && c.New != nil && c.New.UniqueKey != "" {
		return c.New.Owner + "\x00" + c.New.UniqueKey
	}
	return ""
}

// takes reports whether a change can be made together with those of the round.
func (r *round) takes(c tasks.Change) bool {
	key := keyOf(c)
	return !r.seen[c.ID] && !(key != "" && (r.seen[key] || r.frees)) && !(c.Op == tasks.OpDelete && r.keyed)
}

func (r *round) see(name string) {
	if r.seen == nil {
		r.seen = map[string]bool{}
	}
	r.seen[name] = true
}

func (r *round) change(c tasks.Change, to *error) {
	r.see(c.ID)
	switch c.Op {
	case tasks.OpCreate:
		if key := keyOf(c); key != "" {
			r.see(key)
			r.keyed = true
		}
		r.creates.add(c, to)
	case tasks.OpDelete:
		r.frees = true
		r.deletes.add(c, to)
	default:
		r.updates.add(c, to)
	}
}

func (r *round) finish(o tasks.Outcome, to *error) {
	r.see(o.ID)
	r.finishes.add(o, to)
}

// end adds the round's statements, and begins another.
func (r *round) end(steps []step) []step {
	if r.deletes.ids != nil {
		steps = append(steps, r.deletes.step(r))
	}
	if r.creates.ids != nil {
		steps = append(steps, r.creates.step(r))
	}
	if r.updates.ids != nil {
		steps = append(steps, r.updates.step(r))
	}
	if r.finishes.ids != nil {
		steps = append(steps, r.finishes.step(r))
	}
	*r = round{now: r.now, writer: r.writer}
	return steps
}

// milli returns a time as the tables have it, or NULL.
func milli(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

// text returns a text, or NULL if there is none.
func text[T ~string | ~[]byte](s T) *string {
	if len(s) == 0 {
		return nil
	}
	t := string(s)
	return &t
}
