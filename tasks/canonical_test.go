package tasks_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// TestCacheCanonical compares the keys of inputs with the hash of what is written down.
func TestCacheCanonical(t *testing.T) {
	st, _, _ := open(t)
	raw := func(s string) any { return json.RawMessage(s) }
	for _, test := range []struct {
		input any
		want  string // "" is an error
	}{
		{nil, `null`},
		{true, `true`},
		{map[string]int{"b": 1, "a": 2, "B": 3}, `{"B":3,"a":2,"b":1}`},
		{struct {
			Z int `json:"z"`
			A []any
		}{1, []any{1, "x", nil, false}}, `{"A":[1,"x",null,false],"z":1}`},
		{raw(` { "x" : [ { "d":1, "c":[ ] }, { } ] } `), `{"x":[{"c":[],"d":1},{}]}`},
		{raw(`{"ﬀ":1,"😀":2,"é":3,"z":4}`), `{"z":4,"é":3,"ﬀ":1,"😀":2}`},
		{raw(`"\u00e9\/\u003c\u2028\ud83d\ude00"`), "\"é/<\u2028😀\""},
		{"\b\f\n\r\t\x01\x1f\x7f\"\\", `"\b\f\n\r\t\u0001\u001f` + "\x7f" + `\"\\"`},
		{"<&>\ufffd", "\"<&>\ufffd\""},
		{raw(`[1,1.0,1e0,10e-1,0.1E1,100e-2]`), `[1,1,1,1,1,1]`},
		{raw(`[0,-0,0.00,0e99999999999,-0.0]`), `[0,0,0,0,0]`},
		{raw(`[-1.50,0.10,123.4560,100,1e2,-12e3]`), `[-1.5,0.1,123.456,100,100,-12000]`},
		{raw(`[9007199254740993,9007199254740992]`), `[9007199254740993,9007199254740992]`},
		{raw(`[1e20,1e21,12e20,0.000001,0.0000001,1.25e-8]`), `[100000000000000000000,1e+21,1.2e+21,0.000001,1e-7,1.25e-8]`},
		{raw(`[1e-30,1E400]`), `[1e-30,1e+400]`},
		{[]byte(`{ "b":1 }`), `{ "b":1 }`},
		{strings.NewReader("abc"), `abc`},
		{raw(`1e99999999999`), ""},
		{raw(`{"a":1,"b":{"c":1,"\u0063":1}}`), ""},
		{raw(`"\ud800"`), ""},
		{raw("\"\xff\""), ""},
		{map[string]int{"\xff": 1}, ""},
		{"\xfe", ""},
		{raw(strings.Repeat("[", 20000) + strings.Repeat("]", 20000)), ""},
		{func() {}, ""},
	} {
		res, err := st.Do(t.Context(), tasks.Form, test.input, value(1, new(atomic.Int32)))
		if test.want == "" {
			require.ErrorIs(t, err, tasks.ErrInvalid, "%v", test.input)
			continue
		}
		require.NoError(t, err, test.want)
		sum := sha256.Sum256([]byte(test.want))
		require.Equal(t, hex.EncodeToString(sum[:]), res.Key, test.want)
	}
}
