package tasks

// queueSchema adds what claims, lists and counts need, so that their work doesn't grow with tasks that they don't concern.
// What changes while a handler runs is in tables of its own: a row of tasks may carry a result of many megabytes.
// The columns lease and lease_until of tasks aren't used any more.
//
// The triggers keep counts and leases right for whoever changes a task, the Python module too.
const queueSchema = `
	ALTER TABLE tasks ADD COLUMN owner TEXT NOT NULL DEFAULT '';
	ALTER TABLE tasks ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
	ALTER TABLE tasks ADD COLUMN delayed_at INTEGER; -- when a backoff has set run_at; NULL if the task's creator has
	ALTER TABLE tasks ADD COLUMN max_attempts INTEGER NOT NULL DEFAULT 0; -- 0 is the store's
	ALTER TABLE tasks ADD COLUMN backoff INTEGER NOT NULL DEFAULT 0; -- in milliseconds; 0 is the store's
	ALTER TABLE tasks ADD COLUMN timeout INTEGER NOT NULL DEFAULT 0; -- of an attempt, in milliseconds; 0 is the worker's
	ALTER TABLE tasks ADD COLUMN uncounted INTEGER NOT NULL DEFAULT 0; -- attempts that don't count towards the maximum
	ALTER TABLE tasks ADD COLUMN suspect INTEGER NOT NULL DEFAULT 0; -- a worker that had it has died
	ALTER TABLE tasks ADD COLUMN cancelled INTEGER NOT NULL DEFAULT 0;
	ALTER TABLE tasks ADD COLUMN started_at INTEGER;
	ALTER TABLE tasks ADD COLUMN ended_at INTEGER;
	ALTER TABLE tasks ADD COLUMN labels TEXT;
	ALTER TABLE tasks ADD COLUMN unique_key TEXT;
	ALTER TABLE tasks ADD COLUMN done REAL NOT NULL DEFAULT 0;
	ALTER TABLE tasks ADD COLUMN total REAL NOT NULL DEFAULT 0;
	ALTER TABLE tasks ADD COLUMN note TEXT;
	ALTER TABLE task_attempts ADD COLUMN uncounted INTEGER NOT NULL DEFAULT 0;

	CREATE TABLE task_leases(
		id TEXT PRIMARY KEY,
		type TEXT NOT NULL,
		worker TEXT NOT NULL,
		lease TEXT NOT NULL,
		leased_at INTEGER NOT NULL,
		lease_until INTEGER NOT NULL,
		suspect INTEGER NOT NULL DEFAULT 0,
		shared INTEGER NOT NULL DEFAULT 0 -- another lease of the worker has expired since
	) WITHOUT ROWID;
	INSERT INTO task_leases(id, type, worker, lease, leased_at, lease_until)
		SELECT id, type, '', lease, coalesce(updated_at, 0)*1000, lease_until FROM tasks
		WHERE lease_until IS NOT NULL AND lease IS NOT NULL AND status='processing' AND typeof(id)='text';
	UPDATE tasks SET lease=NULL, lease_until=NULL WHERE lease_until IS NOT NULL;
	UPDATE tasks SET delayed_at=coalesce(updated_at, 0)*1000 WHERE run_at IS NOT NULL AND status='pending';
	DROP INDEX tasks_leased;
	DROP INDEX tasks_pending;
	CREATE INDEX task_leases_type ON task_leases(type, lease_until);
	CREATE INDEX task_leases_worker ON task_leases(worker, suspect);

	CREATE INDEX tasks_ready ON tasks(type, created_at - 3600*priority)
		WHERE status='pending' AND run_at IS NULL AND suspect=0 AND typeof(id)='text' AND id<>'';
	CREATE INDEX tasks_suspect ON tasks(type, created_at - 3600*priority)
		WHERE status='pending' AND run_at IS NULL AND suspect<>0 AND typeof(id)='text' AND id<>'';
	CREATE INDEX tasks_waiting ON tasks(type, run_at)
		WHERE status='pending' AND run_at IS NOT NULL AND typeof(id)='text' AND id<>'';
	CREATE INDEX tasks_by ON tasks(type, status, created_at, id);
	CREATE INDEX tasks_owner ON tasks(owner, type, status, created_at, id) WHERE owner<>'';
	CREATE UNIQUE INDEX tasks_key ON tasks(owner, unique_key) WHERE unique_key IS NOT NULL;

	CREATE TABLE task_inputs(id TEXT PRIMARY KEY, input TEXT NOT NULL);
	CREATE TABLE task_labels(
		name TEXT NOT NULL, value TEXT NOT NULL, created_at INTEGER NOT NULL, id TEXT NOT NULL,
		PRIMARY KEY(name, value, created_at, id)
	) WITHOUT ROWID;
	CREATE INDEX task_labels_id ON task_labels(id);
	CREATE TABLE task_steps(id TEXT NOT NULL, step TEXT NOT NULL, result TEXT NOT NULL, PRIMARY KEY(id, step));
	CREATE TABLE task_uses(id TEXT PRIMARY KEY, used_at INTEGER NOT NULL) WITHOUT ROWID;
	CREATE TABLE task_types(
		type TEXT PRIMARY KEY,
		paused INTEGER NOT NULL DEFAULT 0,
		max_running INTEGER NOT NULL DEFAULT 0,
		rate REAL NOT NULL DEFAULT 0,
		tokens REAL NOT NULL DEFAULT 0,
		filled_at INTEGER NOT NULL DEFAULT 0
	) WITHOUT ROWID;
	CREATE TABLE task_clock_steps(at INTEGER NOT NULL, step INTEGER NOT NULL);

	CREATE TABLE task_counts(
		owner TEXT NOT NULL, -- '' is all, the tasks of owners too
		type TEXT NOT NULL,
		status TEXT NOT NULL,
		n INTEGER NOT NULL,
		PRIMARY KEY(owner, type, status)
	) WITHOUT ROWID;
	INSERT INTO task_counts SELECT '', type, status, count(*) FROM tasks GROUP BY type, status;
	CREATE TRIGGER tasks_count_insert AFTER INSERT ON tasks BEGIN
		INSERT INTO task_counts(owner, type, status, n) VALUES('', new.type, new.status, 1)
			ON CONFLICT(owner, type, status) DO UPDATE SET n=n+1;
	END;
	CREATE TRIGGER tasks_count_insert_owned AFTER INSERT ON tasks WHEN new.owner<>'' BEGIN
		INSERT INTO task_counts(owner, type, status, n) VALUES(new.owner, new.type, new.status, 1)
			ON CONFLICT(owner, type, status) DO UPDATE SET n=n+1;
	END;
	CREATE TRIGGER tasks_count_update AFTER UPDATE OF type, status ON tasks
	WHEN old.status IS NOT new.status OR old.type IS NOT new.type BEGIN
		UPDATE task_counts SET n=n-1 WHERE owner='' AND type=old.type AND status=old.status;
		INSERT INTO task_counts(owner, type, status, n) VALUES('', new.type, new.status, 1)
			ON CONFLICT(owner, type, status) DO UPDATE SET n=n+1;
	END;
	CREATE TRIGGER tasks_count_update_owned AFTER UPDATE OF owner, type, status ON tasks
	WHEN (old.owner<>'' OR new.owner<>'')
		AND (old.status IS NOT new.status OR old.type IS NOT new.type OR old.owner IS NOT new.owner) BEGIN
		UPDATE task_counts SET n=n-1 WHERE owner=old.owner AND old.owner<>'' AND type=old.type AND status=old.status;
		INSERT INTO task_counts(owner, type, status, n) SELECT new.owner, new.type, new.status, 1 WHERE new.owner<>''
			ON CONFLICT(owner, type, status) DO UPDATE SET n=n+1;
	END;
	CREATE TRIGGER tasks_count_delete AFTER DELETE ON tasks BEGIN
		UPDATE task_counts SET n=n-1 WHERE owner='' AND type=old.type AND status=old.status;
	END;
	CREATE TRIGGER tasks_count_delete_owned AFTER DELETE ON tasks WHEN old.owner<>'' BEGIN
		UPDATE task_counts SET n=n-1 WHERE owner=old.owner AND type=old.type AND status=old.status;
		DELETE FROM task_counts WHERE owner=old.owner AND type=old.type AND status=old.status AND n<=0;
	END;

	-- Whoever changes a task's status ends its lease, and the attempt that is open.
	CREATE TRIGGER tasks_status AFTER UPDATE OF status ON tasks BEGIN
		DELETE FROM task_leases WHERE id=old.id;
		UPDATE task_attempts SET error='lease lost', ended_at=CASE
			WHEN typeof(new.updated_at)='integer' AND new.updated_at BETWEEN started_at/1000+1 AND 253402300799 THEN new.updated_at*1000
			ELSE started_at END
			WHERE id=old.id AND ended_at IS NULL;
	END;
	CREATE TRIGGER tasks_completed AFTER UPDATE OF status ON tasks WHEN new.status='completed' BEGIN
		DELETE FROM task_steps WHERE id=old.id;
	END;
	CREATE TRIGGER tasks_deleted_side AFTER DELETE ON tasks BEGIN
		DELETE FROM task_leases WHERE id=old.id;
		DELETE FROM task_inputs WHERE id=old.id;
		DELETE FROM task_labels WHERE id=old.id;
		DELETE FROM task_steps WHERE id=old.id;
		DELETE FROM task_uses WHERE id=old.id;
	END;`

// The conditions of the indexes: a query has to repeat them.
const (
	whereReady   = "status='pending' AND run_at IS NULL AND suspect=0 AND typeof(id)='text' AND id<>''"
	whereSuspect = "status='pending' AND run_at IS NULL AND suspect<>0 AND typeof(id)='text' AND id<>''"
	whereWaiting = "status='pending' AND run_at IS NOT NULL AND typeof(id)='text' AND id<>''"
	// rankOrder is the order of claims: each level of priority is worth [PriorityAge] of waiting.
	rankOrder = "created_at - 3600*priority"
)
