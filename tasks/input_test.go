package tasks_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// TestDepth: what could be stored but not decoded is refused.
func TestDepth(t *testing.T) {
	t.Parallel()
	st, _, _ := open(t)
	ctx := t.Context()
	nested := func(n int) json.RawMessage {
		return json.RawMessage(strings.Repeat(`[{"]":`, n/2) + `"[{\"["` + strings.Repeat("}]", n/2))
	}
	value := func(n int) (v any) {
		for range n {
			v = []any{v}
		}
		return v
	}
	require.NoError(t, st.Create(ctx, "a", tasks.Form))
	for _, n := range []int{tasks.MaxDepth + 2, 100_000} {
		for _, err := range []error{
			st.Update(ctx, "a", tasks.Completed, nested(n)), st.Warm(ctx, tasks.Form, 1, nested(n)),
			st.Update(ctx, "a", tasks.Completed, deep{nested(n)}), st.Update(ctx, "a", tasks.Completed, value(n)),
		} {
			require.ErrorIs(t, err, tasks.ErrInvalid)
		}
	}
	require.NoError(t, st.Update(ctx, "a", tasks.Completed, nested(tasks.MaxDepth)))
	r, err := st.Result(ctx, "a")
	require.NoError(t, err)
	require.NoError(t, r.Decode(new(any)))
}

// deep is a value that encodes itself.
type deep struct{ raw json.RawMessage }

func (d deep) MarshalJSON() ([]byte, error) { return d.raw, nil }

// TestSeparators: U+2028 and U+2029 are text outside ASCII like any other.
func TestSeparators(t *testing.T) {
	st, _, _ := open(t)
	ctx := t.Context()
	for _, text := range []string{"a\u2028b\u2029c", "\u2028", `\u2028`, `\\u2029`, "\\\u2028", `\u202`, "\u202a", `C:\u2028\u2029`, "\"\u2028\""} {
		require.NoError(t, st.Create(ctx, "a", tasks.Form))
		require.NoError(t, st.Update(ctx, "a", tasks.Completed, map[string]string{text: text}))
		r, err := st.Result(ctx, "a")
		require.NoError(t, err)
		var got map[string]string
		require.NoError(t, r.Decode(&got))
		require.Equal(t, map[string]string{text: text}, got)
		require.Equal(t, strings.Count(text, "\u2028"), strings.Count(string(r.Raw), "\u2028")/2, "%s", r.Raw)
		require.Equal(t, strings.Count(text, "\u2029"), strings.Count(string(r.Raw), "\u2029")/2, "%s", r.Raw)
		require.NoError(t, st.Delete(ctx, "a"))
	}
}

// TestCacheLarge: a result of nearly the limit is kept beside others that go.
func TestCacheLarge(t *testing.T) {
	const limit = 1 << 20
	st, c, _ := open(t, tasks.MaxResult(limit), tasks.CacheMaxBytes(limit))
	ctx := t.Context()
	for i := range 10 {
		require.NoError(t, st.Warm(ctx, tasks.Form, i, strings.Repeat("s", limit/20)))
		c.Add(1e9)
	}
	large := strings.Repeat("x", limit*31/32)
	require.NoError(t, st.Warm(ctx, tasks.Form, "large", large))
	got, err := st.Do(ctx, tasks.Form, "large", never(t))
	require.NoError(t, err)
	require.Len(t, got.Raw, len(large)+2)
	stats, err := st.CacheStats(ctx)
	require.NoError(t, err)
	require.LessOrEqual(t, stats.Bytes, int64(limit))
}
