package tasks_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

// parsed is a JSON value whose numbers are exact.
func parsed(text []byte) (v any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil, false
	}
	_, err := d.Token()
	return v, err == io.EOF
}

// same reports whether two values are equal, in another way than by their canonical form.
func same(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, same)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, same)
	case json.Number:
		b, ok := b.(json.Number)
		return ok && rational(a).Cmp(rational(b)) == 0
	}
	if _, ok := b.(json.Number); ok {
		return false
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

func rational(n json.Number) *big.Rat {
	r, ok := new(big.Rat).SetString(string(n))
	if !ok {
		panic(n)
	}
	return r
}

// tooLarge reports whether a number has an exponent that a big.Rat would need much memory for.
func tooLarge(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if tooLarge(e) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, tooLarge)
	case json.Number:
		_, e, found := strings.Cut(strings.ToLower(string(v)), "e")
		n, err := strconv.Atoi(e)
		return found && (err != nil || max(n, -n) > 500)
	}
	return false
}

// rewritten is the same value written in another way: names in reverse, all text as escapes, more whitespace, other numbers.
func rewritten(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var members []string
		names := slices.Sorted(maps.Keys(v))
		slices.Reverse(names)
		for _, n := range names {
			members = append(members, rewritten(n)+" :\t"+rewritten(v[n]))
		}
		return "{ " + strings.Join(members, "\n,\r ") + "}"
	case []any:
		var elements []string
		for _, e := range v {
			elements = append(elements, rewritten(e))
		}
		return "[ " + strings.Join(elements, " , ") + "\n]"
	case json.Number:
		mantissa, exp, found := strings.Cut(strings.ToLower(string(v)), "e")
		n := 0
		if found {
			n, _ = strconv.Atoi(exp)
		}
		if strings.Contains(mantissa, ".") {
			return fmt.Sprintf("%s00E%+d", mantissa, n)
		}
		return fmt.Sprintf("%s.000e%d", mantissa, n)
	case string:
		out := `"`
		for _, r := range v {
			if r > 0xffff {
				r -= 0x10000
				out += fmt.Sprintf(`\u%04X\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
			} else if r == utf8.RuneError {
				out += string(r) // its escape isn't allowed
			} else {
				out += fmt.Sprintf(`\u%04X`, r)
			}
		}
		return out + `"`
	}
	out, _ := json.Marshal(v)
	return " " + string(out) + " "
}

// FuzzCanonical compares the canonical forms of two values, which are equal if and only if the values are.
func FuzzCanonical(f *testing.F) {
	for _, pair := range [][2]string{
		{`1`, `1.0`}, {`1e0`, `10e-1`}, {`-0`, `0`}, {`9007199254740993`, `9007199254740992`}, {`1e-7`, `0.0000001`},
		{`1e21`, `1000000000000000000000`}, {`123456789012345678901234567890`, `123456789012345678901234567891`},
		{`{"a":1,"b":2}`, `{"b":2,"a":1}`}, {`{"a":1,"a":1}`, `{"a":1}`}, {`"\u00e9"`, `"é"`}, {`"\ud83d\ude00"`, `"😀"`}, {`"\ufffd"`, `"\ud800"`},
		{`[1,[2,{}],null,true]`, `[1, [2, { }], null, true]`}, {`"1"`, `1`}, {`null`, `"null"`}, {`[[],[]]`, `[[[]]]`}, {`{"":{}}`, `{"":[]}`},
		{`"\u2028</script>"`, "\"\u2028\\u003c/script>\""}, {`"\u0000"`, `"\\u0000"`}, {`1e400`, `0.1e401`}, {`12e20`, `-1.2e-21`}, {`""`, `"\/"`},
	} {
		f.Add([]byte(pair[0]), []byte(pair[1]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		va, ok := parsed(a)
		if !ok || tooLarge(va) {
			return
		}
		ca, err := tasks.Canonical(json.RawMessage(a))
		if err != nil {
			return // duplicate names, or text that isn't Unicode
		}
		require.True(t, json.Valid(ca), "%s", ca)
		back, ok := parsed(ca)
		require.True(t, ok)
		require.True(t, same(va, back), "%s is another value than %s", ca, a)
		again, err := tasks.Canonical(json.RawMessage(ca))
		require.NoError(t, err)
		require.Equal(t, string(ca), string(again))
		other := rewritten(va)
		co, err := tasks.Canonical(json.RawMessage(other))
		require.NoError(t, err, other)
		require.Equal(t, string(ca), string(co), other)

		vb, ok := parsed(b)
		if !ok || tooLarge(vb) {
			return
		}
		if cb, err := tasks.Canonical(json.RawMessage(b)); err == nil {
			require.Equal(t, same(va, vb), bytes.Equal(ca, cb), "%s and %s", ca, cb)
		}
	})
}
