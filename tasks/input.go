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
	raw := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if !utf8.Valid(raw) {
		// A json.RawMessage may hold it, and the Python module couldn't read it.
		return nil, &InputError{"result", fmt.Sprintf("%T (not UTF-8)", result), "JSON in UTF-8"}
	}
	if len(raw) > c.maxResult {
		return nil, &InputError{"result", fmt.Sprintf("of %d bytes", len(raw)), fmt.Sprintf("at most %d bytes of JSON", c.maxResult)}
	}
	return raw, nil
}
