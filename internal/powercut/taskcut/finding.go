package taskcut

import (
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/docusnap/asyncvfs/internal/simdisk"
	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
)

// dbName is the name of the database on the disk.
const dbName = "tasks.db"

// finding is what the database holds when it is opened after a power cut.
type finding struct {
	digest uint64 // of all rows; 0 if there are no tables
	err    error  // it can't be opened or read, or isn't in order
	rows   *rows  // unless only the digest is asked for
}

// rows are what the tables hold.
type rows struct {
	tasks    map[string]taskRow
	attempts map[string][]attemptRow // in order
	cache    map[tasks.CacheKey]cacheRow
	docs     map[string]docRow // of the application, by task
	steps    map[stepKey]string
	limits   map[tasks.Type]tasks.TypeLimits
}

type taskRow struct {
	typ, status, result, error, lease string
	owner                             string
	hasResult, cancelled              bool
	advance                           tasks.Advance
	created                           int64
	attempts                          int
	leaseUntil                        int64
}

type attemptRow struct {
	n     int
	ended bool
	error string
}

// docRow is what the application says of a task: its status, and what it has reported last.
type docRow struct{ status, note string }

type stepKey struct{ id, name string }

type stepRow struct {
	stepKey
	result string
}

type cacheRow struct {
	result string
	stored bool
	lease  string
}

// inspect opens the database on the stock VFS and reads all of it.
func inspect(img simdisk.Image, shmDir string, withRows bool) (f finding) {
	d := simdisk.NewDisk(img, simdisk.Config{ShmDir: shmDir, Powersafe: true, Quiet: true})
	defer d.Remove()
	if len(img[dbName]) == 0 && len(img[dbName+"-wal"]) == 0 {
		return finding{rows: &rows{}}
	}
	c, err := sqlite3.Open("file:" + d.Path(dbName) + "?vfs=" + simdisk.Stock)
	if err != nil {
		return finding{err: err}
	}
	defer c.Close()
	// Without a shared WAL-index it is faster. Nothing is brought over when it closes.
	_, err = c.Config(sqlite3.DBCONFIG_NO_CKPT_ON_CLOSE, true)
	if err := errors.Join(err, c.Exec("PRAGMA locking_mode=exclusive")); err != nil {
		return finding{err: err}
	}
	return look(c, withRows)
}

var digestSeed = maphash.MakeSeed()

// look reads all of the database.
func look(c *sqlite3.Conn, withRows bool) (f finding) {
	check := ""
	if err := each(c, "PRAGMA integrity_check", func(s *sqlite3.Stmt) { check += s.ColumnText(0) }); err != nil {
		return finding{err: err}
	}
	if check != "ok" {
		return finding{err: fmt.Errorf("integrity_check: %s", check)}
	}
	there := map[string]bool{}
	if err := each(c, "SELECT name FROM sqlite_schema WHERE type='table'", func(s *sqlite3.Stmt) { there[s.ColumnText(0)] = true }); err != nil {
		return finding{err: err}
	}
	f.rows = &rows{}
	if len(there) == 0 {
		return f
	}
	var h maphash.Hash
	h.SetSeed(digestSeed)
	if withRows {
		f.rows = &rows{map[string]taskRow{}, map[string][]attemptRow{}, map[tasks.CacheKey]cacheRow{}, map[string]docRow{},
			map[stepKey]string{}, map[tasks.Type]tasks.TypeLimits{}}
	}
	for _, t := range []struct {
		name, columns string
		row           func(*sqlite3.Stmt)
	}{
		{"tasks_schema", "version, 0", func(*sqlite3.Stmt) {}},
		{"tasks", "id, type, status, result, error, (SELECT lease FROM task_leases l WHERE l.id=tasks.id), created_at, attempts, " +
			"(SELECT lease_until FROM task_leases l WHERE l.id=tasks.id), updated_at, run_at, owner, priority, delayed_at, max_attempts, backoff, timeout, " +
			"uncounted, suspect, cancelled, started_at, ended_at, labels, unique_key, done, total, note", f.rows.task},
		{"task_attempts", "id, attempt, ended_at, error, started_at", f.rows.attempt},
		{"task_leases", "id, type, worker, lease, leased_at, lease_until, suspect, shared", func(*sqlite3.Stmt) {}},
		{"task_inputs", "id, input", func(*sqlite3.Stmt) {}},
		{"task_labels", "name, value, created_at, id", func(*sqlite3.Stmt) {}},
		{"task_steps", "id, step, result", f.rows.step},
		{"task_types", "type, paused, max_running, rate, tokens, filled_at", f.rows.limit},
		{"task_counts", "owner, type, status, n", func(*sqlite3.Stmt) {}},
		{"task_cache", "type, key, result, lease, created_at, expires_at, used_at, uses, lease_until", f.rows.cached},
		{"docs", "id, status, note", func(s *sqlite3.Stmt) { f.rows.docs[s.ColumnText(0)] = docRow{s.ColumnText(1), s.ColumnText(2)} }},
	} {
		if !there[t.name] {
			continue
		}
		fmt.Fprint(&h, t.name)
		f.err = each(c, "SELECT "+t.columns+" FROM "+t.name+" ORDER BY 1, 2", func(s *sqlite3.Stmt) {
			for i := range s.ColumnCount() {
				h.WriteByte(byte(s.ColumnType(i)))
				h.Write(s.ColumnRawText(i))
				h.WriteByte(0)
			}
			if withRows {
				t.row(s)
			}
		})
		if f.err != nil {
			return f
		}
	}
	if there["task_leases"] {
		f.err = together(c)
	}
	f.digest = h.Sum64() | 1
	return f
}

// together checks that what one transaction has written to several tables is there together.
func together(c *sqlite3.Conn) (err error) {
	for what, sql := range map[string]string{
		"a count isn't that of its tasks": `SELECT type, status, count(*) FROM tasks GROUP BY 1, 2
			EXCEPT SELECT type, status, n FROM task_counts WHERE owner=''`,
		"tasks are counted that aren't there": `SELECT type, status, n FROM task_counts WHERE owner='' AND n<>0
			EXCEPT SELECT type, status, count(*) FROM tasks GROUP BY 1, 2`,
		"a lease has no task that is processing": "SELECT id FROM task_leases EXCEPT SELECT id FROM tasks WHERE status='processing'",
		"a leased task has no open attempt":      "SELECT id FROM task_leases EXCEPT SELECT id FROM task_attempts WHERE ended_at IS NULL",
		"an input has no task":                   "SELECT id FROM task_inputs EXCEPT SELECT id FROM tasks",
		"a task has lost its input":              "SELECT id FROM tasks WHERE labels IS NOT NULL EXCEPT SELECT id FROM task_inputs",
		"a step has no task to be done":          "SELECT id FROM task_steps EXCEPT SELECT id FROM tasks WHERE status<>'completed'",
		"more was handed out than a type's rate": "SELECT type FROM task_types WHERE tokens<0",
		"a label isn't where its task is": `SELECT id, owner, type, status FROM task_labels
			EXCEPT SELECT id, owner, type, status FROM tasks`,
		"a task has lost its labels": "SELECT id FROM tasks WHERE labels IS NOT NULL EXCEPT SELECT id FROM task_labels",
	} {
		if e := each(c, sql, func(*sqlite3.Stmt) { err = errors.New(what) }); e != nil {
			return e
		}
	}
	return err
}

func (r *rows) task(s *sqlite3.Stmt) {
	r.tasks[s.ColumnText(0)] = taskRow{
		typ: s.ColumnText(1), status: s.ColumnText(2), result: s.ColumnText(3), error: s.ColumnText(4), lease: s.ColumnText(5),
		hasResult: s.ColumnType(3) != sqlite3.NULL, created: s.ColumnInt64(6), attempts: s.ColumnInt(7), leaseUntil: s.ColumnInt64(8),
		owner: s.ColumnText(11), cancelled: s.ColumnBool(19),
		advance: tasks.Advance{Done: s.ColumnFloat(24), Total: s.ColumnFloat(25), Note: s.ColumnText(26)},
	}
}

func (r *rows) attempt(s *sqlite3.Stmt) {
	id := s.ColumnText(0)
	r.attempts[id] = append(r.attempts[id], attemptRow{s.ColumnInt(1), s.ColumnType(2) != sqlite3.NULL, s.ColumnText(3)})
}

func (r *rows) cached(s *sqlite3.Stmt) {
	r.cache[tasks.CacheKey{Type: tasks.Type(s.ColumnText(0)), Key: s.ColumnText(1)}] =
		cacheRow{s.ColumnText(2), s.ColumnType(2) != sqlite3.NULL, s.ColumnText(3)}
}

func (r *rows) step(s *sqlite3.Stmt) {
	r.steps[stepKey{s.ColumnText(0), s.ColumnText(1)}] = s.ColumnText(2)
}

func (r *rows) limit(s *sqlite3.Stmt) {
	r.limits[tasks.Type(s.ColumnText(0))] = tasks.TypeLimits{Paused: s.ColumnBool(1), Running: s.ColumnInt(2), PerSecond: s.ColumnFloat(3)}
}

// each runs a statement and hands over its rows.
func each(c *sqlite3.Conn, sql string, row func(*sqlite3.Stmt)) error {
	s, _, err := c.Prepare(sql)
	if err != nil {
		return err
	}
	defer s.Close()
	for s.Step() {
		row(s)
	}
	return s.Err()
}
