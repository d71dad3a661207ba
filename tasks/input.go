package tasks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxID is how long an id may be, in bytes.
const MaxID = 255

func checkID(id string) error {
	if id == "" || len(id) > MaxID || !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
		if len(id) > 2*MaxID {
			id = id[:2*MaxID]
		}
		return &InputError{"id", strconv.Quote(id), "1 to 255 bytes of UTF-8 without control characters"}
	}
	return nil
}

func checkStatus(s Status) error {
	if _, ok := before[s]; !ok {
		return &InputError{"status", strconv.Quote(string(s)), "pending, processing, completed or error"}
	}
	return nil
}

// MaxDepth is how deeply a result may be nested: what is nested more deeply [encoding/json] doesn't decode.
const MaxDepth = 10000

// depth returns how deeply JSON is nested.
func depth(raw []byte) (deepest int) {
	now, text := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// unescape writes the two characters as they are that [encoding/json] always escapes: the line and the paragraph separator.
func unescape(raw []byte) []byte {
	if !bytes.Contains(raw, []byte(`\u202`)) {
		return raw
	}
	out := raw[:0] // it gets shorter
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		switch escape := string(raw[i:min(i+6, len(raw))]); escape {
		case `\u2028`, `\u2029`:
			out = append(out, "\u2028\u2029"[3*(escape[5]-'8'):][:3]...)
			i += 5
		default:
			out = append(out, raw[i:min(i+2, len(raw))]...)
			i++
		}
	}
	return out
}

// encode returns a result as JSON, with text outside ASCII and the characters of HTML as they are.
func (c *config) encode(result any) (json.RawMessage, error) {
	if result == nil {
		return nil, nil
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(result); err != nil {
		return nil, &InputError{"result", fmt.Sprintf("%T (%v)", result, err), "a value that encoding/json accepts"}
	}
	raw := unescape(bytes.TrimSuffix(buf.Bytes(), []byte("\n")))
	if depth(raw) > MaxDepth {
		return nil, &InputError{"result", fmt.Sprintf("%T (nested more deeply)", result), fmt.Sprintf("at most %d levels, which is what encoding/json decodes", MaxDepth)}
	}
	if !utf8.Valid(raw) {
		// A json.RawMessage may hold it, and the Python module couldn't read it.
		return nil, &InputError{"result", fmt.Sprintf("%T (not UTF-8)", result), "JSON in UTF-8"}
	}
	if len(raw) > c.maxResult {
		return nil, fmt.Errorf("%w: %w", ErrTooLarge, &InputError{"result", fmt.Sprintf("of %d bytes", len(raw)), fmt.Sprintf("at most %d bytes of JSON", c.maxResult)})
	}
	return raw, nil
}
