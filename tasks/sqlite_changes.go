package tasks

import (
	"cmp"
	"time"
)

// statements make one change each. The check whether it is allowed is part of it,
// so that of two that come at the same time one wins. What a trigger does besides: see queueSchema.
var statements = [...]string{
	OpCreate: `INSERT INTO tasks(id, type, status, created_at, result, ended_at, owner, priority, run_at, max_attempts, backoff, timeout, labels, unique_key)
		SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14 WHERE NOT EXISTS(SELECT 1 FROM tasks WHERE id=?1) ON CONFLICT DO NOTHING`,
	OpUpdate: `UPDATE tasks SET status=?2, result=coalesce(?4, result), error=coalesce(?5, error), updated_at=?3, run_at=NULL, delayed_at=NULL,
		cancelled=?7, suspect=0, started_at=CASE ?2 WHEN 'processing' THEN ?8 ELSE started_at END,
		ended_at=CASE WHEN ?2 IN ('completed', 'error') THEN ?8 END
		WHERE id=?1 AND (?6='' OR instr(?6, ' '||status||' '))`,
	OpRetry: `UPDATE tasks SET status='pending', updated_at=?3, run_at=NULL, delayed_at=NULL, cancelled=0, ended_at=NULL
		WHERE id=?1 AND (?6='' OR instr(?6, ' '||status||' '))`,
	OpDelete: "DELETE FROM tasks WHERE id=?1",
}

// more is what a change needs besides its statement, in the same transaction.
type more struct {
	sql  string
	args []any
}

func (c Change) more(now time.Time) (list []more) {
	if c.Op != OpCreate || c.New == nil {
		return nil
	}
	if c.New.Input != nil {
		list = append(list, more{"INSERT INTO task_inputs(id, input) VALUES(?1, ?2)", []any{c.ID, string(c.New.Input)}})
	}
	for name, value := range NewLabels(c.New.Labels).All() {
		list = append(list, more{insertLabel, []any{name, value, now.Unix(), c.ID, c.New.Owner, string(c.Type), string(c.created())}})
	}
	return list
}

// keyOwner finds the task that has a unique key.
const keyOwner = "SELECT id FROM tasks WHERE owner=?1 AND unique_key=?2"

const statusOf = "SELECT status FROM tasks WHERE id=?1"

// insertLabel adds a label to a task. What lists are filtered by is there too.
const insertLabel = "INSERT INTO task_labels(name, value, created_at, id, owner, type, status) VALUES(?, ?, ?, ?, ?, ?, ?)"

// created is the status of a task that is created.
func (c Change) created() Status { return cmp.Or(c.Status, Pending) }

// args returns the arguments of the change's statement.
func (c Change) args(now time.Time) []any {
	switch c.Op {
	case OpCreate:
		n := c.New
		if n == nil {
			n = &Creation{}
		}
		status := c.created()
		args := []any{c.ID, string(c.Type), string(status), now.Unix(), nil, nil, n.Owner, n.Priority, nil, n.MaxAttempts,
			n.Backoff.Milliseconds(), n.Timeout.Milliseconds(), nil, nil}
		if c.Result != nil {
			args[4] = string(c.Result)
		}
		if status.Final() {
			args[5] = now.UnixMilli()
		}
		if !n.RunAt.IsZero() {
			args[8] = n.RunAt.UnixMilli()
		}
		if len(n.Labels) > 0 {
			args[12] = NewLabels(n.Labels).text()
		}
		if n.UniqueKey != "" {
			args[13] = n.UniqueKey
		}
		return args
	case OpDelete:
		return []any{c.ID}
	}
	args := []any{c.ID, string(c.Status), now.Unix(), nil, nil, from(c.From), 0, now.UnixMilli()}
	if c.Result != nil {
		args[3] = string(c.Result)
	}
	if c.Error != "" {
		args[4] = c.Error
	}
	if c.Cancelled {
		args[6] = 1
	}
	if c.Op == OpRetry {
		args = args[:6]
	}
	return args
}

// refused says why a statement has changed nothing.
func (c Change) refused(on statementer) error {
	now, found, err := on.text(statusOf, []any{c.ID})
	switch {
	case err != nil:
		return err
	case c.Op != OpCreate && !found:
		return ErrNotFound
	case c.Op != OpCreate:
		return &TransitionError{ID: c.ID, From: Status(now), To: c.Status}
	case found || c.New == nil || c.New.UniqueKey == "":
		return ErrExists
	}
	id, _, err := on.text(keyOwner, []any{c.New.Owner, c.New.UniqueKey})
	if err != nil {
		return err
	}
	return &ExistsError{ID: id}
}

// from returns statuses as the statements look for them: the empty string is any.
func from(statuses []Status) string {
	if statuses == nil {
		return ""
	}
	s := " "
	for _, t := range statuses {
		s += string(t) + " "
	}
	return s
}
