package taskhttp

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

const (
	// DefaultMaxBody is how large a request's body may be, in bytes: an input of [tasks.DefaultMaxResult], and what is around it.
	DefaultMaxBody = 16<<20 + 64<<10
	// DefaultMaxWait is how long a long poll waits at most.
	DefaultMaxWait = time.Minute
	// DefaultHeartbeat is how often a stream on which nothing happens sends a comment.
	DefaultHeartbeat = 15 * time.Second
)

// Option sets how a handler behaves.
type Option func(*config)

// fail notes the first error of an option.
func (c *config) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("taskhttp: "+format, args...)
	}
}

// Logger makes the handler log what a person should know: answers of status 500 and above, and their cause. Default: nothing.
func Logger(l *slog.Logger) Option {
	return func(c *config) {
		if l != nil {
			c.log = l
		}
	}
}

// Metrics sets what is served at /metrics, to who has the right [Admin]. Default: nothing, 404.
func Metrics(h http.Handler) Option { return func(c *config) { c.metrics = h } }

// MaxBody sets how large a request's body may be, in bytes, from 1 KiB to 1 GiB. Default [DefaultMaxBody].
func MaxBody(bytes int64) Option {
	return func(c *config) {
		if c.maxBody = bytes; bytes < 1<<10 || bytes > 1<<30 {
			c.fail("MaxBody %d: want 1024 to 1073741824", bytes)
		}
	}
}

// MaxWait sets how long a long poll waits at most, from 1s to 10m. One that asks for longer waits for that long. Default [DefaultMaxWait].
func MaxWait(d time.Duration) Option {
	return func(c *config) {
		if c.maxWait = d; d < time.Second || d > 10*time.Minute {
			c.fail("MaxWait %v: want 1s to 10m", d)
		}
	}
}

// Heartbeat sets how often a stream on which nothing happens sends a comment, from 100ms to 1h. Default [DefaultHeartbeat].
// It is how a client that has gone without a word is noticed.
func Heartbeat(d time.Duration) Option {
	return func(c *config) {
		if c.heartbeat = d; d < 100*time.Millisecond || d > time.Hour {
			c.fail("Heartbeat %v: want 100ms to 1h", d)
		}
	}
}

// ClientTime sets how long a client may take to send a request's body, and to take an answer or an event off, each from 1s to 1h.
// Default 30s each. One that takes longer loses its connection.
func ClientTime(send, take time.Duration) Option {
	return func(c *config) {
		for _, d := range []time.Duration{send, take} {
			if d < time.Second || d > time.Hour {
				c.fail("ClientTime %v: want 1s to 1h", d)
			}
		}
		c.bodyTime, c.writeTime = send, take
	}
}

// MaxWaiting sets how many long polls wait at the same time, of a client and in all. A client is a principal's name,
// or the address that the request comes from if that is empty. Default 256 and 10,000. One more is answered with 429 or 503.
func MaxWaiting(perClient, inAll int) Option {
	return func(c *config) {
		c.waitsPerClient, c.waitsInAll = perClient, inAll
		c.checkMost("MaxWaiting", perClient, inAll)
	}
}

// MaxStreams sets how many streams of events are open at the same time, of a client and in all, as [MaxWaiting] does.
// Default 64 and 10,000.
func MaxStreams(perClient, inAll int) Option {
	return func(c *config) {
		c.streamsPerClient, c.streamsInAll = perClient, inAll
		c.checkMost("MaxStreams", perClient, inAll)
	}
}

func (c *config) checkMost(name string, perClient, inAll int) {
	if perClient < 0 || inAll < 0 {
		c.fail("%s(%d, %d): want 0 or more", name, perClient, inAll)
	}
}

// NewServer returns a server for a handler, with limits on what a client can hold: its headers are up to 32 KiB, and are there within 10s,
// and a connection without a request is closed after 2m. The handler sees to the rest. Its Shutdown ends what waits at once.
func NewServer(addr string, h *Handler) *http.Server {
	s := &http.Server{Addr: addr, Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10}
	s.RegisterOnShutdown(h.Shutdown)
	return s
}
