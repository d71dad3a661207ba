package tasks_test

import (
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// TestForeignTextIDs: an id that is a text but none of ours is handed out once, as it is, and its attempt ends, or it is in nobody's way.
func TestForeignTextIDs(t *testing.T) {
	t.Parallel()
	for name, id := range map[string]string{
		"not UTF-8": "CAST(x'61ff' AS TEXT)", "NUL": "'a' || char(0) || 'b'", "a number": "12", "a float": "1.50", "spaces": "' a '",
		"long": "hex(zeroblob(5000))", "control": "'a' || char(10)", "composed": "'é'", "decomposed": "'e' || char(769)",
	} {
		t.Run(name, func(t *testing.T) {
			st, _, path := open(t)
			ctx := t.Context()
			_, err := openSQL(t, path).Exec("INSERT INTO tasks(id, type, status, created_at) VALUES(" + id + ", 'form', 'pending', 1)")
			require.NoError(t, err)
			require.NoError(t, st.Create(ctx, "ours", tasks.Form))
			ended := 0
			for range 4 {
				c, err := st.Claim(ctx, time.Minute)
				if err != nil {
					require.ErrorIs(t, err, tasks.ErrNoTask)
					break
				}
				if err := st.Complete(ctx, c, 1); err != nil {
					require.ErrorIs(t, err, tasks.ErrInvalid) // it can't be named
					continue
				}
				ended++
			}
			require.Positive(t, ended)
			info, err := st.Status(ctx, "ours")
			require.NoError(t, err)
			require.Equal(t, tasks.Completed, info.Status)
			counts, err := st.Count(ctx)
			require.NoError(t, err)
			require.Equal(t, ended, counts[tasks.Form][tasks.Completed])
			n, err := st.Cleanup(ctx, 0)
			require.NoError(t, err)
			require.Equal(t, 2, n)
		})
	}
}
