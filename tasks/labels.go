package tasks

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	// MaxLabels is how many labels a task may have.
	MaxLabels = 16
	// MaxNote is how long the note of an [Advance] may be, in bytes.
	MaxNote = 1 << 10
)

// Labels are names with values. They are comparable.
type Labels struct{ json string }

// NewLabels returns labels.
func NewLabels(m map[string]string) Labels {
	if len(m) == 0 {
		return Labels{}
	}
	raw, _ := json.Marshal(m) // strings can be marshalled, and the names are sorted
	return Labels{string(raw)}
}

// Map returns the labels.
func (l Labels) Map() map[string]string {
	m := map[string]string{}
	if l.json != "" {
		_ = json.Unmarshal([]byte(l.json), &m) // what others have written there may be anything
	}
	return m
}

// Get returns a label's value, or "".
func (l Labels) Get(name string) string { return l.Map()[name] }

// All yields the labels in the order of their names.
func (l Labels) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		m := l.Map()
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if !yield(name, m[name]) {
				return
			}
		}
	}
}

// MarshalJSON returns them as an object.
func (l Labels) MarshalJSON() ([]byte, error) { return json.Marshal(l.Map()) }

// UnmarshalJSON takes an object.
func (l *Labels) UnmarshalJSON(raw []byte) error {
	var m map[string]string
	err := json.Unmarshal(raw, &m)
	*l = NewLabels(m)
	return err
}

// text is what is stored: "" if there are none.
func (l Labels) text() string { return l.json }

func checkLabels(m map[string]string) error {
	if len(m) > MaxLabels {
		return &InputError{"labels", strconv.Itoa(len(m)), "at most " + strconv.Itoa(MaxLabels)}
	}
	for name, value := range m {
		if checkID(name) != nil || value != "" && checkID(value) != nil {
			return &InputError{"label", strconv.Quote(name[:min(len(name), 2*MaxID)]), "names and values of at most 255 bytes of UTF-8 without control characters"}
		}
	}
	return nil
}

// checkOwner accepts the empty one, too.
func checkOwner(owner string) error {
	if owner != "" && checkID(owner) != nil {
		return &InputError{"owner", strconv.Quote(owner[:min(len(owner), 2*MaxID)]), "at most 255 bytes of UTF-8 without control characters"}
	}
	return nil
}

// oneLine is a note as it is kept.
func oneLine(s string) string { return strings.TrimSpace(cutText(s, MaxNote)) }
