package postgres

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSettlement: what is known holds for the run of the server that it was learnt from: another one, which has taken over, may have given
// the same numbers to other transactions. Where a standby has to have a commit too, the WAL's place here proves nothing.
func TestSettlement(t *testing.T) {
	yes, no, run := true, false, "this run"
	for _, c := range []struct {
		name    string
		s       settlement
		server  string
		commit  string
		durable bool
	}{
		{"nothing new", settlement{flushed: &no}, run, "on", true},
		{"nothing new, of another run", settlement{flushed: &no}, "before", "on", false},
		{"nothing known", settlement{flushed: &no}, "", "on", false},
		{"nothing known, on the disk", settlement{flushed: &yes, news: true}, "", "on", true},
		{"new and durable", settlement{flushed: &no, news: true}, run, "on", true},
		{"new and durable, of another run", settlement{flushed: &no, news: true}, "before", "on", false},
		{"new", settlement{flushed: &no, news: true, unsureNews: true}, run, "on", false},
		{"new, on the disk", settlement{flushed: &yes, news: true, unsureNews: true}, run, "on", true},
		{"nothing new, replicated", settlement{flushed: &no, replicated: true}, run, "on", true},
		{"new and durable, replicated", settlement{flushed: &yes, news: true, replicated: true}, run, "remote_apply", false},
		{"new and durable here, replicated", settlement{flushed: &yes, news: true, replicated: true}, run, "local", true},
	} {
		c.s.server = &run
		require.Equal(t, c.durable, c.s.durable(c.server, c.commit), c.name)
	}
	require.True(t, settlement{standby: true}.durable("", "on"))
}
