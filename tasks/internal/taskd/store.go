package taskd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docusnap/asyncvfs/tasks"
)

// Openers open stores by the scheme of their URL. What has no scheme is the path of an SQLite database.
type Openers map[string]func(ctx context.Context, url string, opts ...tasks.Option) (*tasks.Store, error)

// elsewhere is which program opens what this one doesn't: it is in a module of its own.
var elsewhere = map[string]string{
	"postgres":   "github.com/docusnap/asyncvfs/tasks/postgres/taskd",
	"postgresql": "github.com/docusnap/asyncvfs/tasks/postgres/taskd",
}

// schemes names the schemes that there are.
func (o Openers) schemes() string {
	if len(o) == 0 {
		return "none in this build"
	}
	return strings.Join(slices.Sorted(maps.Keys(o)), "://, ") + "://"
}

// open opens the store that -store names.
func (o Openers) open(ctx context.Context, name string, opts ...tasks.Option) (*tasks.Store, error) {
	scheme, _, ok := strings.Cut(name, "://")
	if !ok {
		return tasks.Open(ctx, name, opts...)
	}
	if open, ok := o[scheme]; ok {
		return open(ctx, name, opts...)
	}
	// The URL may have a password in it.
	if program, ok := elsewhere[scheme]; ok {
		return nil, fmt.Errorf("-store %s://…: this program opens SQLite databases only; want %s", scheme, program)
	}
	return nil, fmt.Errorf("-store %s://…: want the path of an SQLite database, or a URL with one of the schemes: %s", scheme, o.schemes())
}
