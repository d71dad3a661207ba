package postgres

import (
	"fmt"
	"strings"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres/pgtest"
	"github.com/stretchr/testify/require"
)

// TestLabelsOfOlder: what lists by a label are filtered by is right for tasks from before it was kept, for those that a process of the older version
// creates and changes while it runs on, and for what others change.
func TestLabelsOfOlder(t *testing.T) {
	s := pgtest.StartTest(t, "fsync=off")
	conn := connectRules(t, s)
	ctx := t.Context()
	old := &backend{schema: "old"}
	_, err := conn.PgConn().Exec(ctx, old.sql("CREATE SCHEMA old; CREATE TABLE @tasks_schema(version integer NOT NULL); INSERT INTO @tasks_schema VALUES(2);"+
		strings.Join(migrations[:2], ";"))).ReadAll()
	require.NoError(t, err)
	exec := func(sql string, args ...any) {
		t.Helper()
		_, err := conn.Exec(ctx, old.sql(sql), args...)
		require.NoError(t, err)
	}
	// As version 2 does it: the labels in the statement that creates the task.
	create := func(id, typ, status, owner string) {
		exec(`WITH did AS (INSERT INTO @tasks(id, type, status, owner, rank, created_at, labels) VALUES($1, $2, $3, $4, 1, 1700000000, '{"l":"v"}')
			RETURNING id, created_at, labels)
			INSERT INTO @task_labels(name, value, created_at, id) SELECT l.key, l.value, did.created_at, did.id FROM did, json_each_text(did.labels::json) l`,
			id, typ, status, owner)
	}
	create("a", "form", "pending", "")
	create("b", "form", "completed", "me")
	st, err := Config{Schema: "old"}.Open(ctx, s.URL("postgres"))
	require.NoError(t, err)
	defer st.Close()
	is := func(want string, q tasks.Query) {
		t.Helper()
		q.Label = [2]string{"l", "v"}
		list, err := st.List(ctx, q)
		require.NoError(t, err)
		var ids []string
		for _, i := range list {
			ids = append(ids, i.ID)
		}
		require.Equal(t, want, fmt.Sprint(ids))
	}
	pending, done := []tasks.Status{tasks.Pending}, []tasks.Status{tasks.Completed}
	is("[a b]", tasks.Query{})
	is("[a]", tasks.Query{Statuses: pending})
	is("[b]", tasks.Query{Statuses: done})
	is("[b]", tasks.Query{Owner: "me"})
	create("c", "form", "pending", "me")
	create("d", "document", "pending", "")
	is("[a c d]", tasks.Query{Statuses: pending})
	is("[d]", tasks.Query{Types: []tasks.Type{tasks.Document}})
	is("[c]", tasks.Query{Owner: "me", Statuses: pending})
	exec("UPDATE @tasks SET status='completed' WHERE id='c'")
	is("[a d]", tasks.Query{Statuses: pending})
	is("[b c]", tasks.Query{Statuses: done, Owner: "me"})
	exec("UPDATE @tasks SET owner='', type='document' WHERE id='c'")
	is("[b]", tasks.Query{Owner: "me"})
	is("[c d]", tasks.Query{Types: []tasks.Type{tasks.Document}})
	exec("DELETE FROM @tasks WHERE id='c'")
	is("[a b d]", tasks.Query{})
}
