package postgres_test

import (
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/backendtest"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/stretchr/testify/require"
)

// TestConformance holds PostgreSQL to what every backend has to do: with notifications, and where there are none.
func TestConformance(t *testing.T) {
	for name, c := range map[string]postgres.Config{
		"listen": {},
		"poll":   {NoListen: true, Poll: 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			backendtest.Run(t, func(t testing.TB, now func() time.Time, opts ...tasks.Option) backendtest.Opened {
				c := c
				c.Clock, c.Schema = now, server.NewSchema()
				open := func() backendtest.Store {
					st, err := c.Open(t.Context(), server.URL("postgres"), opts...)
					require.NoError(t, err)
					return st
				}
				return backendtest.Opened{Store: open(), Second: open}
			})
		})
	}
}
