package tasks_test

import (
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3/driver"
	"github.com/stretchr/testify/require"
)

// TestTx: a task and the application's own row are made together, or neither is.
func TestTx(t *testing.T) {
	st, _, path := open(t)
	ctx := t.Context()
	db, err := driver.Open("file:" + filepath.ToSlash(path) + "?vfs=async&_txlock=immediate&_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("CREATE TABLE invoice(id INTEGER PRIMARY KEY, task TEXT)")
	require.NoError(t, err)
	for _, commit := range []bool{false, true} {
		tx, err := db.BeginTx(ctx, nil)
		require.NoError(t, err)
		_, err = tx.Exec("INSERT INTO invoice(task) VALUES('a')")
		require.NoError(t, err)
		in, err := st.InTx(tx)
		require.NoError(t, err)
		require.NoError(t, in.Create(ctx, "a", tasks.Document))
		require.ErrorIs(t, in.Create(ctx, "a", tasks.Document), tasks.ErrExists)
		require.NoError(t, in.Update(ctx, "a", tasks.Error, nil, tasks.ErrorText("torn page")))
		require.ErrorIs(t, in.Update(ctx, "a", tasks.Completed, 1), tasks.ErrTransition)
		require.NoError(t, in.Retry(ctx, "a"))
		require.NoError(t, in.Update(ctx, "a", tasks.Completed, "名"))
		require.ErrorIs(t, in.Update(ctx, "b", tasks.Completed, 1), tasks.ErrNotFound)
		require.ErrorIs(t, in.Delete(ctx, "b"), tasks.ErrNotFound)
		require.ErrorIs(t, in.Create(ctx, "", tasks.Form), tasks.ErrInvalid)
		_, err = st.Status(ctx, "a")
		require.ErrorIs(t, err, tasks.ErrNotFound) // not yet
		if !commit {
			require.NoError(t, tx.Rollback())
			_, err = st.Status(ctx, "a")
			require.ErrorIs(t, err, tasks.ErrNotFound)
			continue
		}
		require.NoError(t, tx.Commit())
		res, err := st.Result(ctx, "a")
		require.NoError(t, err)
		require.Equal(t, `"名"`, string(res.Raw))
		require.Equal(t, "torn page", res.Error)
	}
	var n int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM invoice").Scan(&n))
	require.Equal(t, 1, n)
}

// TestTxCreation: what a task is created with in the application's transaction comes and goes with it.
func TestTxCreation(t *testing.T) {
	st, _, path := open(t)
	ctx := t.Context()
	db := openSQL(t, path)
	for _, commit := range []bool{false, true} {
		tx, err := db.BeginTx(ctx, nil)
		require.NoError(t, err)
		in, err := st.InTx(tx)
		require.NoError(t, err)
		key := tasks.UniqueKey("k")
		require.NoError(t, in.Create(ctx, "a", tasks.Form, tasks.Input(1), key, tasks.WithLabels(map[string]string{"l": "v"})))
		var exists *tasks.ExistsError
		require.ErrorAs(t, in.Create(ctx, "b", tasks.Form, key), &exists)
		require.Equal(t, "a", exists.ID)
		require.ErrorIs(t, in.Create(ctx, "a", tasks.Form), tasks.ErrExists)
		if !commit {
			require.NoError(t, tx.Rollback())
			_, err := st.Input(ctx, "a")
			require.ErrorIs(t, err, tasks.ErrNotFound)
			continue
		}
		require.NoError(t, tx.Commit())
		raw, err := st.Input(ctx, "a")
		require.NoError(t, err)
		require.Equal(t, "1", string(raw))
		list, err := st.List(ctx, tasks.Query{Label: [2]string{"l", "v"}})
		require.NoError(t, err)
		require.Len(t, list, 1)
	}
}
