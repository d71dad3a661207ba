package tasks

import (
	"errors"

	"github.com/ncruces/go-sqlite3"
)

// The log of changes says which tasks have changed, whoever has changed them: others' processes look at what is new in it,
// instead of at all tasks that they wait for. Its entries are numbered without a gap. The newest are kept, 10,000 and a few,
// which is what a look finds unless far more than that is committed in its pace.
//
// Extending a lease is no change that anybody waits for.
const changeLog = `CREATE TABLE task_changes(seq INTEGER PRIMARY KEY, id);
	CREATE TRIGGER tasks_log_insert AFTER INSERT ON tasks BEGIN INSERT INTO task_changes(id) VALUES(new.id); END;
	CREATE TRIGGER tasks_log_update AFTER UPDATE ON tasks BEGIN INSERT INTO task_changes(id) VALUES(new.id); END;
	CREATE TRIGGER tasks_log_rename AFTER UPDATE OF id ON tasks BEGIN INSERT INTO task_changes(id) VALUES(old.id); END;
	CREATE TRIGGER tasks_log_delete AFTER DELETE ON tasks BEGIN INSERT INTO task_changes(id) VALUES(old.id); END;
	CREATE TRIGGER task_changes_trim AFTER INSERT ON task_changes WHEN new.seq % 512 = 0
	BEGIN DELETE FROM task_changes WHERE seq <= new.seq - 10000; END;`

// lastChange is the number of the newest entry, or 0.
const lastChange = "SELECT coalesce(max(seq), 0) FROM task_changes"

// changesBetween are the entries after one number, up to another.
const changesBetween = "SELECT seq, id FROM task_changes WHERE seq>?1 AND seq<=?2 ORDER BY seq"

// logRange is a part of the log: the entries after one number, up to another.
type logRange struct{ after, upTo int64 }

// changedTasks returns the tasks that a part of the log names, each once, by [changesBetween].
// It reports false if the log doesn't have all of the part any more.
func changedTasks(s *sqlite3.Stmt, r logRange) (ids []string, ok bool, err error) {
	defer func() { err = errors.Join(err, s.Reset()) }()
	if err := errors.Join(s.BindInt64(1, r.after), s.BindInt64(2, r.upTo)); err != nil {
		return nil, false, err
	}
	seen := map[string]bool{}
	for next := r.after + 1; s.Step(); next++ {
		if s.ColumnInt64(0) != next {
			return nil, false, nil
		}
		if id := s.ColumnText(1); !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
		r.after = next
	}
	return ids, r.after == r.upTo, s.Err()
}
