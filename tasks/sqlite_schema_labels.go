package tasks

// labelSchema keeps beside each label what lists are filtered by, in the order of lists:
// so a list of a label and a status goes past no task that has the one and not the other.
//
// The triggers keep that right for whoever changes a task, and for a process of an older version
// that had the file open before.
const labelSchema = `
	DELETE FROM task_labels WHERE NOT EXISTS(SELECT 1 FROM tasks WHERE tasks.id=task_labels.id);
	ALTER TABLE task_labels ADD COLUMN owner TEXT NOT NULL DEFAULT '';
	ALTER TABLE task_labels ADD COLUMN type TEXT NOT NULL DEFAULT '';
	ALTER TABLE task_labels ADD COLUMN status TEXT NOT NULL DEFAULT '';
	UPDATE task_labels SET (owner, type, status)=(SELECT owner, type, status FROM tasks WHERE tasks.id=task_labels.id);
	CREATE INDEX task_labels_by ON task_labels(name, value, type, status, created_at, id);
	CREATE INDEX task_labels_owner ON task_labels(name, value, owner, type, status, created_at, id) WHERE owner<>'';
	CREATE TRIGGER task_labels_insert AFTER INSERT ON task_labels WHEN new.status='' BEGIN
		UPDATE task_labels SET (owner, type, status)=(SELECT owner, type, status FROM tasks WHERE tasks.id=new.id)
			WHERE name=new.name AND value=new.value AND created_at=new.created_at AND id=new.id
			AND EXISTS(SELECT 1 FROM tasks WHERE tasks.id=new.id);
	END;
	CREATE TRIGGER tasks_labels AFTER UPDATE OF owner, type, status ON tasks WHEN new.labels IS NOT NULL BEGIN
		-- The id may change too, and whether that is done here before is open.
		UPDATE task_labels SET owner=new.owner, type=new.type, status=new.status WHERE id IN (old.id, new.id);
	END;`
