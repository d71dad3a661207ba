package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docusnap/asyncvfs/tasks"
)

// openers open stores by the scheme of their URL. What has no scheme is the path of an SQLite database.
var openers = map[string]func(ctx context.Context, url string, opts ...tasks.Option) (*tasks.Store, error){}

// schemes names the schemes that there are.
func schemes() string {
	if len(openers) == 0 {
		return "none in this build"
	}
	return strings.Join(slices.Sorted(maps.Keys(openers)), "://, ") + "://"
}

// openStore opens the store that -store names.
func openStore(ctx context.Context, name string, opts ...tasks.Option) (*tasks.Store, error) {
	scheme, _, ok := strings.Cut(name, "://")
	if !ok {
		return tasks.Open(ctx, name, opts...)
	}
	open, ok := openers[scheme]
	if !ok {
		// The URL may have a password in it.
		return nil, fmt.Errorf("-store %s://…: want the path of an SQLite database, or a URL with one of the schemes: %s", scheme, schemes())
	}
	return open(ctx, name, opts...)
}
