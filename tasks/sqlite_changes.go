package tasks

// statements make one change each. The check whether it is allowed is part of it,
// so that of two that come at the same time one wins.
var statements = [...]string{
	OpCreate: "INSERT INTO tasks(id, type, status, created_at) VALUES(?1, ?2, 'pending', ?3) ON CONFLICT(id) DO NOTHING",
	OpUpdate: "UPDATE tasks SET status=?2, result=coalesce(?4, result), error=coalesce(?5, error), updated_at=?3, lease=NULL, lease_until=NULL, run_at=NULL WHERE id=?1 AND (?6='' OR instr(?6, ' '||status||' '))",
	OpRetry:  "UPDATE tasks SET status='pending', updated_at=?3, lease=NULL, lease_until=NULL, run_at=NULL WHERE id=?1 AND (?6='' OR instr(?6, ' '||status||' '))",
	OpDelete: "DELETE FROM tasks WHERE id=?1",
}

const statusOf = "SELECT status FROM tasks WHERE id=?1"

// args returns the arguments of the change's statement.
func (c Change) args(now int64) []any {
	switch c.Op {
	case OpCreate:
		return []any{c.ID, string(c.Type), now}
	case OpDelete:
		return []any{c.ID}
	}
	args := []any{c.ID, string(c.Status), now, nil, nil, from(c.From)}
	if c.Result != nil {
		args[3] = string(c.Result)
	}
	if c.Error != "" {
		args[4] = c.Error
	}
	return args
}

// refused says why a statement has changed nothing.
func (c Change) refused(status func() (Status, error)) error {
	if c.Op == OpCreate {
		return ErrExists
	}
	now, err := status()
	if err != nil {
		return err
	}
	return &TransitionError{ID: c.ID, From: now, To: c.Status}
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
