package tasks

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// workerConfig is the part of the options that workers need.
type workerConfig struct {
	maxAttempts int
	backoff     func(attempt int) time.Duration
}

var defaultWorkers = workerConfig{DefaultMaxAttempts, backoff}

func (w workerConfig) check() error {
	if w.maxAttempts < 1 || w.maxAttempts > 1000 {
		return &InputError{"MaxAttempts", strconv.Itoa(w.maxAttempts), "1 to 1000"}
	}
	if w.backoff == nil {
		return &InputError{"Backoff", "nil", "a function"}
	}
	return nil
}

// MaxAttempts sets how often a task is handed out before it is [Error], from 1 to 1000. Default [DefaultMaxAttempts].
// A task that [Store.Retry] takes back after that gets one more attempt each time.
func MaxAttempts(n int) Option {
	return func(c *config) { c.workers.maxAttempts = n }
}

// Backoff sets how long a task waits after its n-th attempt failed, n being 1 or more.
// Default: 1s, doubled with each attempt up to 10 minutes, times a random factor from 0.5 to 1.5,
// so that tasks which failed together don't all come back together.
func Backoff(f func(attempt int) time.Duration) Option {
	return func(c *config) { c.workers.backoff = f }
}

func backoff(attempt int) time.Duration { return doubled(time.Second, attempt) }

// doubled returns a time that is doubled with each attempt, up to 10 minutes or that time, give or take half of it.
func doubled(d time.Duration, attempt int) time.Duration {
	most := max(d, 10*time.Minute)
	for range min(max(attempt-1, 0), 20) {
		d = min(2*d, most)
	}
	return d/2 + rand.N(d+1)
}

// errorText returns what is kept of an error. It is never empty: that would look like a success.
func errorText(err error) string {
	s := cutText(err.Error(), MaxErrorText)
	if s == "" {
		s = fmt.Sprintf("%T", err)
	}
	return s
}

// cutText returns what is kept of an error's text: so many bytes at most.
func cutText(s string, limit int) string {
	if len(s) > limit {
		n := limit
		for n > max(0, limit-utf8.UTFMax) && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	// "?" is no longer than the bytes that it stands for. Not every backend's texts can hold a NUL.
	return strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
}
