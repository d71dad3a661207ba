package tasks

// replaceSchema keeps all that goes with tasks right also where others replace tasks, or give them other ids.
//
// What REPLACE takes out of the way goes without a word: SQLite fires no trigger for it, unless the connection has
// PRAGMA recursive_triggers. So what is in the way of a new row is remembered before, and looked for after it:
// whether the statement replaces, ignores or fails, no trigger is told. What is remembered of one that ignores,
// the next one drops.
//
// An id is changed with all that is kept under it.
//
// https://sqlite.org/lang_conflict.html
const replaceSchema = `
	CREATE TABLE task_replaced(task INTEGER PRIMARY KEY, id, owner, type, status, gone INTEGER NOT NULL DEFAULT 0);
	CREATE TRIGGER tasks_replace_insert BEFORE INSERT ON tasks
	WHEN EXISTS(SELECT 1 FROM tasks WHERE id=new.id) OR EXISTS(SELECT 1 FROM tasks WHERE rowid=new.rowid)
		OR new.unique_key IS NOT NULL AND EXISTS(SELECT 1 FROM tasks WHERE owner=new.owner AND unique_key=new.unique_key)
		OR EXISTS(SELECT 1 FROM task_replaced) BEGIN
		DELETE FROM task_replaced;
		INSERT INTO task_replaced(task, id, owner, type, status)
			SELECT rowid, id, owner, type, status FROM tasks WHERE id=new.id
			UNION SELECT rowid, id, owner, type, status FROM tasks WHERE rowid=new.rowid
			UNION SELECT rowid, id, owner, type, status FROM tasks WHERE owner=new.owner AND unique_key=new.unique_key;
	END;
	CREATE TRIGGER tasks_replaced_insert AFTER INSERT ON tasks WHEN EXISTS(SELECT 1 FROM task_replaced) BEGIN
		UPDATE task_replaced SET gone=1 WHERE task=new.rowid OR NOT EXISTS(SELECT 1 FROM tasks WHERE rowid=task);
		DELETE FROM task_replaced;
	END;
	CREATE TRIGGER tasks_replace_update BEFORE UPDATE OF id, owner, unique_key, rowid, oid, _rowid_ ON tasks BEGIN
		DELETE FROM task_replaced;
		INSERT INTO task_replaced(task, id, owner, type, status)
			SELECT rowid, id, owner, type, status FROM tasks WHERE id=new.id AND rowid<>old.rowid
			UNION SELECT rowid, id, owner, type, status FROM tasks WHERE rowid=new.rowid AND rowid<>old.rowid
			UNION SELECT rowid, id, owner, type, status FROM tasks WHERE owner=new.owner AND unique_key=new.unique_key AND rowid<>old.rowid;
	END;
	CREATE TRIGGER tasks_replaced_update AFTER UPDATE OF id, owner, unique_key, rowid, oid, _rowid_ ON tasks BEGIN
		UPDATE task_replaced SET gone=1 WHERE task=new.rowid OR NOT EXISTS(SELECT 1 FROM tasks WHERE rowid=task);
		DELETE FROM task_replaced;
		UPDATE task_leases SET id=new.id WHERE id=old.id AND new.id<>old.id AND typeof(new.id)='text';
		UPDATE task_attempts SET id=new.id WHERE id=old.id AND new.id<>old.id AND typeof(new.id)='text';
		UPDATE task_inputs SET id=new.id WHERE id=old.id AND new.id<>old.id AND typeof(new.id)='text';
		UPDATE task_labels SET id=new.id WHERE id=old.id AND new.id<>old.id AND typeof(new.id)='text';
		UPDATE task_steps SET id=new.id WHERE id=old.id AND new.id<>old.id AND typeof(new.id)='text';
		UPDATE task_uses SET id=new.id WHERE id=old.id AND new.id<>old.id AND typeof(new.id)='text';
		-- An id that isn't a text is one that nobody can name.
		DELETE FROM task_leases WHERE id=old.id AND new.id IS NOT old.id;
		DELETE FROM task_attempts WHERE id=old.id AND new.id IS NOT old.id;
		DELETE FROM task_inputs WHERE id=old.id AND new.id IS NOT old.id;
		DELETE FROM task_labels WHERE id=old.id AND new.id IS NOT old.id;
		DELETE FROM task_steps WHERE id=old.id AND new.id IS NOT old.id;
		DELETE FROM task_uses WHERE id=old.id AND new.id IS NOT old.id;
		-- As the triggers on the status do, which may have come before.
		DELETE FROM task_leases WHERE id=new.id AND new.status IS NOT old.status;
		UPDATE task_attempts SET error='lease lost', ended_at=started_at WHERE id=new.id AND ended_at IS NULL AND new.status IS NOT old.status;
		DELETE FROM task_steps WHERE id=new.id AND new.status IS NOT old.status AND new.status='completed';
	END;
	CREATE TRIGGER tasks_replaced_delete AFTER DELETE ON tasks WHEN EXISTS(SELECT 1 FROM task_replaced) BEGIN
		DELETE FROM task_replaced WHERE task=old.rowid; -- the connection has recursive_triggers
	END;
	CREATE TRIGGER task_replaced_gone AFTER UPDATE OF gone ON task_replaced BEGIN
		UPDATE task_counts SET n=n-1 WHERE owner='' AND type=old.type AND status=old.status;
		UPDATE task_counts SET n=n-1 WHERE owner=old.owner AND old.owner<>'' AND type=old.type AND status=old.status;
		DELETE FROM task_counts WHERE owner=old.owner AND old.owner<>'' AND type=old.type AND status=old.status AND n<=0;
		DELETE FROM task_leases WHERE id=old.id;
		DELETE FROM task_attempts WHERE id=old.id;
		DELETE FROM task_inputs WHERE id=old.id;
		DELETE FROM task_labels WHERE id=old.id;
		DELETE FROM task_steps WHERE id=old.id;
		DELETE FROM task_uses WHERE id=old.id;
		INSERT INTO task_changes(id) VALUES(old.id);
	END;

	-- What has been replaced before this was there.
	DELETE FROM task_counts;
	INSERT INTO task_counts SELECT '', type, status, count(*) FROM tasks GROUP BY type, status;
	INSERT INTO task_counts SELECT owner, type, status, count(*) FROM tasks WHERE owner<>'' GROUP BY owner, type, status;`
