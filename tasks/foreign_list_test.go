package tasks_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// TestForeignIDs: a row whose id nobody can name holds up nobody: not workers, nor who creates, lists page by page, or closes.
func TestForeignIDs(t *testing.T) {
	t.Parallel()
	for name, id := range map[string]string{"blob": "x'61'", "blob like a task's": "CAST('a' AS BLOB)", "null": "NULL", "empty": "''"} {
		t.Run(name, func(t *testing.T) {
			st, _, path := open(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			db := openSQL(t, path)
			for range 3 {
				_, err := db.Exec("INSERT OR IGNORE INTO tasks(id, type, status, created_at) VALUES(" + id + ", 'form', 'pending', 1)")
				require.NoError(t, err)
			}
			_, err := st.Claim(ctx, time.Minute)
			require.ErrorIs(t, err, tasks.ErrNoTask)
			require.NoError(t, st.Create(ctx, "a", tasks.Form))
			require.NoError(t, st.Create(ctx, "b", tasks.Form))
			c, err := st.Claim(ctx, time.Minute)
			require.NoError(t, err)
			require.Equal(t, "a", c.ID)
			require.NoError(t, st.Complete(ctx, c, 1))
			for _, newest := range []bool{false, true} {
				q := tasks.Query{Limit: 1, Newest: newest}
				var ids []string
				for range 5 {
					list, err := st.List(ctx, q)
					require.NoError(t, err)
					if len(list) == 0 {
						break
					}
					ids = append(ids, list[0].ID)
					q.After = list[0]
				}
				require.ElementsMatch(t, []string{"a", "b"}, ids)
			}
			n, err := st.Cleanup(ctx, 0)
			require.NoError(t, err)
			require.GreaterOrEqual(t, n, 3)
			require.NoError(t, st.Close())
		})
	}
}

// TestForeignTimesListed: a row whose time isn't one keeps nobody from seeing the others, and is cleaned up
// at the age that can be told of it.
func TestForeignTimesListed(t *testing.T) {
	st, c, path := open(t)
	ctx := t.Context()
	db := openSQL(t, path)
	day := 24 * time.Hour
	young, old := c.Now().Add(-time.Hour), c.Now().Add(-10*day)
	for value, updated := range map[string]string{
		"'" + old.Format(time.DateTime) + "'": "NULL", fmt.Sprint(old.UnixMilli()): "NULL", fmt.Sprint(old.UnixMicro()): "NULL",
		fmt.Sprint(old.UnixNano()): "NULL", "'old'": "NULL", "x'00'": "'x'", "'updated'": fmt.Sprint(old.Unix()), "1e300": "NULL",
		"'" + young.Format(time.RFC3339) + "'": "NULL", fmt.Sprint(young.UnixMilli()): "NULL", fmt.Sprint(young.UnixMicro()): "NULL",
		fmt.Sprint(young.UnixNano()): "NULL", "'young'": fmt.Sprint(young.Unix()),
	} {
		_, err := db.Exec("INSERT INTO tasks(id, type, status, created_at, updated_at) VALUES(?, 'form', 'completed', "+value+", "+updated+")", value)
		require.NoError(t, err)
	}
	for i := range 3 {
		require.NoError(t, st.Create(ctx, fmt.Sprint(i), tasks.Form))
	}
	_, err := db.Exec("UPDATE tasks SET updated_at='yesterday' WHERE id='1'")
	require.NoError(t, err)
	for _, newest := range []bool{false, true} {
		list, err := st.List(ctx, tasks.Query{Newest: newest})
		require.NoError(t, err)
		require.Len(t, list, 2)
	}
	n, err := st.Cleanup(ctx, 7*day)
	require.NoError(t, err)
	left, err := db.Query("SELECT id FROM tasks WHERE id GLOB '?????*'")
	require.NoError(t, err)
	defer left.Close()
	count := 0
	for left.Next() {
		var id string
		require.NoError(t, left.Scan(&id))
		t.Log("left: ", id)
		count++
	}
	require.NoError(t, left.Err())
	require.Equal(t, 8, count, "the young, and those whose age nothing tells")
	require.Equal(t, 5, n)
	n, err = st.Cleanup(ctx, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 5, n)
	n, err = st.Cleanup(ctx, 0)
	require.NoError(t, err)
	require.Equal(t, 3+3, n, "all that there is")
}

// TestForeignManyRows: thousands of rows that others have written are gone through once, whatever they are.
func TestForeignManyRows(t *testing.T) {
	t.Parallel()
	st, _, path := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	db, rows := openSQL(t, path), sized(2500, 250) // together more than a part of a cleanup
	for _, row := range []string{"NULL, 1", "CAST(i AS BLOB), 2.5", "'t' || i, 'text'", "'b' || i, x'00'", "'f' || i, 3.75"} {
		_, err := db.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<` + strconv.Itoa(rows) + `)
			INSERT INTO tasks(id, created_at, type, status) SELECT ` + row + `, 'form', 'completed' FROM n`)
		require.NoError(t, err, row)
	}
	_, err := db.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<` + strconv.Itoa(rows) + `)
		INSERT INTO task_cache(type, key, result, created_at, used_at) SELECT 'form', CAST(i AS BLOB), '1', 1, 1 FROM n`)
	require.NoError(t, err)
	require.NoError(t, st.InvalidateType(ctx, tasks.Form))
	n, err := st.Cleanup(ctx, 0)
	require.NoError(t, err)
	require.Equal(t, 5*rows, n)
}
