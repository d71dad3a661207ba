package postgres

// labelSchema keeps beside each label what lists are filtered by, in the order of lists:
// so a list of a label and a status goes past no task that has the one and not the other.
//
// The triggers keep that right for whoever changes a task, and for a process of an older version that runs on.
const labelSchema = `
	ALTER TABLE @task_labels ADD COLUMN owner text COLLATE "C" NOT NULL DEFAULT '', ADD COLUMN type text COLLATE "C" NOT NULL DEFAULT '',
		ADD COLUMN status text COLLATE "C" NOT NULL DEFAULT '';
	UPDATE @task_labels l SET owner=t.owner, type=t.type, status=t.status FROM @tasks t WHERE t.id=l.id;
	CREATE INDEX task_labels_by ON @task_labels(name, value, type, status, created_at, id);
	CREATE INDEX task_labels_owner ON @task_labels(name, value, owner, type, status, created_at, id) WHERE owner<>'';
	CREATE FUNCTION @task_labels_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		UPDATE @task_labels l SET owner=t.owner, type=t.type, status=t.status FROM @tasks t
			WHERE t.id=NEW.id AND l.name=NEW.name AND l.value=NEW.value AND l.created_at=NEW.created_at AND l.id=NEW.id;
		RETURN NULL;
	END $$;
	CREATE TRIGGER task_labels_insert AFTER INSERT ON @task_labels FOR EACH ROW WHEN (NEW.status='') EXECUTE FUNCTION @task_labels_insert();
	CREATE FUNCTION @tasks_labels() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		UPDATE @task_labels SET owner=NEW.owner, type=NEW.type, status=NEW.status WHERE id=NEW.id;
		RETURN NULL;
	END $$;
	CREATE TRIGGER tasks_labels AFTER UPDATE OF owner, type, status ON @tasks FOR EACH ROW
		WHEN (NEW.labels IS NOT NULL AND (NEW.owner, NEW.type, NEW.status) IS DISTINCT FROM (OLD.owner, OLD.type, OLD.status))
		EXECUTE FUNCTION @tasks_labels();`
