package postgres_test

import (
	"encoding/json"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// TestForeignRow: what others have written into a row that a column may hold, but JSON has no form for, keeps nobody from seeing the task.
func TestForeignRow(t *testing.T) {
	c := postgres.Config{Schema: server.NewSchema()}
	st := open(t, c)
	ctx := t.Context()
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	require.NoError(t, err)
	defer conn.Close(ctx)
	for _, set := range []string{"done='NaN'", "total='Infinity'", "done='-Infinity', total='NaN'", "labels='not JSON'", "labels='[1]'", "run_at=9223372036854775807",
		"started_at=-9223372036854775808", "priority=-2147483648", "attempts=-1", "created_at=9223372036854775807", "updated_at=-9223372036854775808"} {
		_, err := conn.Exec(ctx, "UPDATE "+c.Schema+".tasks SET "+set)
		require.NoError(t, err, set)
		info, err := st.Status(ctx, "a")
		require.NoError(t, err, set)
		_, err = json.Marshal(info)
		require.NoError(t, err, set)
		list, err := st.List(ctx, tasks.Query{})
		require.NoError(t, err, set)
		require.Len(t, list, 1)
	}
}
