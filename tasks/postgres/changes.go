package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/jackc/pgx/v5"
)

// The statements that make changes take the time, the name of the writer, and then arrays, and return a row for each element
// with its number and what came of it. Rows are locked in the order of their ids, so that two such statements wait for each other
// but don't block each other for ever.

// logged ends a statement: it writes the log of changes. It is an error to change tasks without it.
const logged = `, log AS (INSERT INTO @task_changes(xid, writer, ids)
	SELECT pg_current_xact_id()::text::bigint, $2, array_agg(id) FROM did HAVING count(*)>0)`

// createSimple creates tasks of which no more is known than their type.
const createSimple = `WITH i AS (SELECT * FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS i(id, type, ord)),
	n AS (SELECT {now} AS ms),
	did AS (INSERT INTO @tasks(id, type, status, rank, created_at)
		SELECT id, type, 'pending', ms/1000, ms/1000 FROM i, n ORDER BY ord ON CONFLICT DO NOTHING RETURNING id)` + logged + `
	SELECT i.ord FROM i JOIN did USING(id)`

const createFull = `WITH i AS (SELECT * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[], $9::bigint[],
		$10::int[], $11::bigint[], $12::bigint[], $13::text[], $14::text[], $15::text[])
		WITH ORDINALITY AS i(id, type, status, result, owner, priority, run_at, max_attempts, backoff, timeout, labels, unique_key, input, ord)),
	n AS (SELECT {now} AS ms),
	did AS (INSERT INTO @tasks(id, type, status, rank, created_at, ended_at, result, owner, priority, run_at, max_attempts, backoff, timeout,
			labels, unique_key, input)
		SELECT id, type, status, ms/1000-3600*priority::bigint, ms/1000, CASE WHEN status IN ('completed', 'error') THEN ms END, result, owner,
			priority, run_at, max_attempts, backoff, timeout, labels, unique_key, input
		FROM i, n ORDER BY ord ON CONFLICT DO NOTHING RETURNING id, created_at, labels, owner, type, status),
	l AS (INSERT INTO @task_labels(name, value, created_at, id, owner, type, status)
		SELECT l.key, l.value, did.created_at, did.id, did.owner, did.type, did.status FROM did, json_each_text(did.labels::json) l WHERE did.labels IS NOT NULL)` + logged + `
	SELECT i.ord FROM i JOIN did USING(id)`

// creates are tasks to create.
type creates struct {
	ids  []string
	list []tasks.Change
	to   []*error
}

func (c *creates) add(n tasks.Change, to *error) {
	c.ids, c.list, c.to = append(c.ids, n.ID), append(c.list, n), append(c.to, to)
}

func (c *creates) step(r *round) step {
	simple := !slices.ContainsFunc(c.list, func(c tasks.Change) bool { return c.New != nil || c.Status.Final() || c.Result != nil })
	types := column(c.list, func(c tasks.Change) string { return string(c.Type) })
	s := step{sql: createSimple, args: []any{r.now, r.writer, c.ids, types}, ids: c.ids, ready: true}
	if !simple {
		list := slices.Clone(c.list)
		for i := range list {
			if list[i].New == nil {
				list[i].New = &tasks.Creation{}
			}
			if list[i].Status == "" {
				list[i].Status = tasks.Pending
			}
		}
		s.sql = createFull
		s.args = append(s.args,
			column(list, func(c tasks.Change) string { return string(c.Status) }),
			column(list, func(c tasks.Change) *string { return text(c.Result) }),
			column(list, func(c tasks.Change) string { return c.New.Owner }),
			column(list, func(c tasks.Change) int32 { return int32(c.New.Priority) }),
			column(list, func(c tasks.Change) *int64 { return milli(c.New.RunAt) }),
			column(list, func(c tasks.Change) int32 { return int32(c.New.MaxAttempts) }),
			column(list, func(c tasks.Change) int64 { return c.New.Backoff.Milliseconds() }),
			column(list, func(c tasks.Change) int64 { return c.New.Timeout.Milliseconds() }),
			column(list, func(c tasks.Change) *string { return labelText(c.New.Labels) }),
			column(list, func(c tasks.Change) *string { return text(c.New.UniqueKey) }),
			column(list, func(c tasks.Change) *string { return text(c.New.Input) }))
	}
	made := make([]bool, len(c.ids))
	to, all := c.to, c.list
	s.row = func(rows pgx.Rows) error {
		var ord int64
		err := rows.Scan(&ord)
		if err == nil {
			made[ord-1] = true
		}
		return err
	}
	s.end = func() error {
		for i, ok := range made {
			if !ok {
				*to[i] = tasks.ErrExists
				if keyOf(all[i]) != "" {
					*to[i] = errTaken
				}
			}
		}
		return nil
	}
	return s
}

// errTaken is that an id or a unique key is taken: which one is found out later.
var errTaken = errors.New("the id or the unique key is taken")

func labelText(m map[string]string) *string {
	if len(m) == 0 {
		return nil
	}
	raw, _ := tasks.NewLabels(m).MarshalJSON()
	return text(raw)
}

// column returns one value of each element.
func column[E, V any](list []E, value func(E) V) []V {
	values := make([]V, len(list))
	for i, e := range list {
		values[i] = value(e)
	}
	return values
}

// Whoever changes a task's status ends its lease, and the attempt that is open.
const endLease = `lease=NULL, lease_until=NULL, leased_at=NULL, worker=NULL, held=false, shared=false`

const endOpen = `attempt_ended_at=CASE WHEN t.attempt_started_at IS NOT NULL THEN coalesce(t.attempt_ended_at, greatest(ms, t.attempt_started_at)) END,
	attempt_error=CASE WHEN t.attempt_started_at IS NOT NULL AND t.attempt_ended_at IS NULL THEN 'lease lost' ELSE t.attempt_error END`

const updateTasks = `WITH i AS (SELECT * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::boolean[], $9::boolean[])
		WITH ORDINALITY AS i(id, status, result, error, froms, cancelled, retry, ord)),
	n AS (SELECT {now} AS ms),
	l AS (SELECT t.id, t.status AS was FROM i JOIN @tasks t ON t.id=i.id ORDER BY t.id FOR UPDATE OF t),
	did AS (UPDATE @tasks t SET status=i.status, result=coalesce(i.result, t.result), error=coalesce(i.error, t.error), updated_at=ms/1000,
			run_at=NULL, delayed_at=NULL, cancelled=i.cancelled, suspect=t.suspect AND i.retry,
			started_at=CASE WHEN i.status='processing' THEN ms ELSE t.started_at END,
			ended_at=CASE WHEN i.status IN ('completed', 'error') THEN ms END, ` + endLease + ", " + endOpen + `
		FROM n, i JOIN l ON l.id=i.id WHERE t.id=i.id AND (i.froms IS NULL OR strpos(i.froms, ' '||l.was||' ')>0)
		RETURNING t.id, t.status),
	steps AS (DELETE FROM @task_steps s USING did WHERE s.id=did.id AND did.status='completed')` + logged + `
	SELECT i.ord, l.was, did.id IS NOT NULL FROM i LEFT JOIN l ON l.id=i.id LEFT JOIN did ON did.id=i.id`

// updates are tasks to update, or to retry.
type updates struct {
	ids  []string
	list []tasks.Change
	to   []*error
}

func (u *updates) add(c tasks.Change, to *error) {
	u.ids, u.list, u.to = append(u.ids, c.ID), append(u.list, c), append(u.to, to)
}

func (u *updates) step(r *round) step {
	list, to := u.list, u.to
	ready := slices.ContainsFunc(list, func(c tasks.Change) bool { return c.Status == tasks.Pending })
	return step{sql: updateTasks, ids: u.ids, ready: ready, args: []any{r.now, r.writer, u.ids,
		column(list, func(c tasks.Change) string { return string(c.Status) }),
		column(list, func(c tasks.Change) *string { return text(c.Result) }),
		column(list, func(c tasks.Change) *string { return text(c.Error) }),
		column(list, func(c tasks.Change) *string { return froms(c.From) }),
		column(list, func(c tasks.Change) bool { return c.Cancelled }),
		column(list, func(c tasks.Change) bool { return c.Op == tasks.OpRetry }),
	}, row: func(rows pgx.Rows) error {
		var ord int64
		var was *string
		var ok bool
		err := rows.Scan(&ord, &was, &ok)
		switch {
		case err != nil:
			return err
		case was == nil:
			*to[ord-1] = tasks.ErrNotFound
		case !ok:
			*to[ord-1] = &tasks.TransitionError{ID: list[ord-1].ID, From: tasks.Status(*was), To: list[ord-1].Status}
		}
		return nil
	}}
}

// froms returns statuses as the statement looks for them: NULL is any.
func froms(statuses []tasks.Status) *string {
	if statuses == nil {
		return nil
	}
	s := " "
	for _, t := range statuses {
		s += string(t) + " "
	}
	return &s
}

const deleteTasks = `WITH i AS (SELECT * FROM unnest($3::text[]) WITH ORDINALITY AS i(id, ord)),
	n AS (SELECT {now} AS ms),
	l AS (SELECT t.id FROM i JOIN @tasks t ON t.id=i.id ORDER BY t.id FOR UPDATE OF t),
	did AS (DELETE FROM @tasks t USING l WHERE t.id=l.id RETURNING t.id)` + logged + `
	SELECT i.ord FROM i JOIN did USING(id)`

// deletes are tasks to delete.
type deletes struct {
	ids []string
	to  []*error
}

func (d *deletes) add(c tasks.Change, to *error) { d.ids, d.to = append(d.ids, c.ID), append(d.to, to) }

func (d *deletes) step(r *round) step {
	to, made := d.to, make([]bool, len(d.ids))
	return step{sql: deleteTasks, ids: d.ids, args: []any{r.now, r.writer, d.ids}, row: func(rows pgx.Rows) error {
		var ord int64
		err := rows.Scan(&ord)
		if err == nil {
			made[ord-1] = true
		}
		return err
	}, end: func() error {
		for i, ok := range made {
			if !ok {
				*to[i] = tasks.ErrNotFound
			}
		}
		return nil
	}}
}

// changeSize is about what a change writes, in bytes.
func changeSize(c tasks.Change) int {
	n := len(c.ID) + len(c.Result) + len(c.Error)
	if c.New != nil {
		n += len(c.New.Input)
	}
	return n
}

// Write hands the changes to the lane of their durability.
func (b *backend) Write(ctx context.Context, changes []tasks.Change, durable bool) (errs []error) {
	if err := b.enter(ctx); err != nil {
		return slices.Repeat([]error{err}, len(changes))
	}
	defer b.leave()
	all := changes
	for len(changes) > 0 {
		n, bytes := 0, 0
		for n < len(changes) && n < batchSize && (n == 0 || bytes+changeSize(changes[n]) <= batchBytes) {
			bytes += changeSize(changes[n])
			n++
		}
		errs = append(errs, b.lane(durable).do(ctx, &request{changes: changes[:n], bytes: bytes})...)
		changes = changes[n:]
	}
	for i, err := range errs {
		if errors.Is(err, errTaken) {
			errs[i] = b.taken(ctx, all[i], durable)
		}
	}
	return errs
}

// taken finds out why a task with a unique key wasn't created, and creates it if the one in its way has gone.
func (b *backend) taken(ctx context.Context, c tasks.Change, durable bool) error {
	for range 100 {
		var there bool
		var owner *string
		if err := b.retry(ctx, func(ctx context.Context) error {
			return b.pool.QueryRow(ctx, b.stmt(whoHas), c.ID, c.New.Owner, c.New.UniqueKey).Scan(&there, &owner)
		}); err != nil {
			return err
		}
		if err := takenBy(there, owner); err != nil {
			return err
		}
		if err := b.lane(durable).do(ctx, &request{changes: []tasks.Change{c}, bytes: changeSize(c)})[0]; !errors.Is(err, errTaken) {
			return err
		}
	}
	return fmt.Errorf("%w, but by whom changes all the time", tasks.ErrExists)
}

const whoHas = "SELECT EXISTS(SELECT 1 FROM @tasks WHERE id=$1), (SELECT id FROM @tasks WHERE owner=$2 AND unique_key=$3)"

func takenBy(there bool, owner *string) error {
	switch {
	case there:
		return tasks.ErrExists
	case owner != nil:
		return &tasks.ExistsError{ID: *owner}
	}
	return nil
}
