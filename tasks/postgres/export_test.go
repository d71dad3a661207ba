package postgres

import "time"

// How often a process asks the server, in polls.
const (
	DefaultPoll = defaultPoll
	ListenPolls = listenPolls
	ClaimPolls  = claimPolls
	ListenAgain = listenAgain
	KeepChanges = keepChanges
)

// After returns a Config whose store waits by a function instead of time.After.
func (c Config) After(after func(time.Duration) <-chan time.Time) Config {
	c.after = after
	return c
}

// TrimEvery returns a Config whose store trims the log of changes that often.
func (c Config) TrimEvery(d time.Duration) Config {
	c.trimEvery = d
	return c
}

// Render returns a statement of the package as it is run on a schema.
func Render(schema, s string) string {
	return (&backend{schema: schema}).sql(s)
}
