package tasks_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/stretchr/testify/require"
)

var documents = flag.Int("documents", sized(400, 150), "how many documents TestService has")

// slots is how many documents a process of the service works on at the same time.
const slots = 4

func init() {
	// serve is a process of a service. Its clock is off by what a file says.
	roles["serve"] = func(t *testing.T, _ *tasks.Store, path string) {
		var off atomic.Int64
		read := func() {
			if text, err := os.ReadFile(path + ".clock"); err == nil {
				if d, err := time.ParseDuration(string(text)); err == nil {
					off.Store(int64(d))
				}
			}
		}
		read()
		go func() {
			for range time.Tick(20 * time.Millisecond) {
				read()
			}
		}()
		start := time.Now()
		st, err := tasks.Open(t.Context(), path, tasks.MaxAttempts(3), tasks.RelaxedByDefault(),
			tasks.Backoff(func(int) time.Duration { return 10 * time.Millisecond }),
			tasks.Clock(func() time.Time { return time.Now().Round(0).Add(time.Duration(off.Load())) }),
			tasks.Elapsed(func() time.Duration { return time.Since(start) }))
		require.NoError(t, err)
		defer st.Close()
		ctx, cancel := context.WithCancel(t.Context())
		handler := func(ctx context.Context, i tasks.Info) (any, error) {
			var text string
			if err := tasks.DecodeInput(ctx, &text); err != nil {
				return nil, err
			}
			kind, _, _ := strings.Cut(i.ID, " ")
			switch {
			case kind == "poison":
				os.Exit(3)
			case kind == "hang" && i.Attempts-i.Uncounted == 1:
				select {} // whatever its context says
			case kind == "panic" && i.Attempts-i.Uncounted == 1:
				panic(text)
			case kind == "corrupt":
				return nil, tasks.Permanent(errors.New("corrupt"))
			}
			return text, nil
		}
		say("ready")
		barrier()
		go func() {
			barrier()
			cancel()
		}()
		require.NoError(t, st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: handler}, slots,
			tasks.LeaseTime(tasks.MinLease), tasks.Timeout(50*time.Millisecond), tasks.HangTime(10*time.Millisecond), tasks.Grace(0)))
		say("ended")
	}
}

// service keeps processes running.
type service struct {
	t    *testing.T
	path string
	stop chan struct{}
	wg   sync.WaitGroup
	mu   sync.Mutex
	pids map[int]*os.Process // guarded by mu
	died int                 // guarded by mu
}

// keep starts a process, and starts it again when it has died.
func (s *service) keep(n int) {
	for {
		c := startChild(s.t, "serve", s.path)
		s.mu.Lock()
		s.pids[n] = c.cmd.Process
		s.mu.Unlock()
		_, _ = io.WriteString(c.in, "go\n") // unless it has been killed since
		ended := make(chan struct{})
		go func() {
			for c.line() != "" {
			}
			_ = c.cmd.Wait()
			close(ended)
		}()
		select {
		case <-ended:
			s.mu.Lock()
			s.died++
			s.mu.Unlock()
		case <-s.stop:
			_, _ = io.WriteString(c.in, "go\n")
			<-ended
			return
		}
	}
}

// TestService runs a service for real: three processes, one of which is killed, handlers that hang, and some that panic,
// documents that kill their process, and a clock that is set forward and back. All documents are done,
// each attempt is accounted for, no slot is lost, and nobody pays for a neighbour.
func TestService(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tasks.db")
	st, err := tasks.Open(t.Context(), path, tasks.MaxAttempts(3))
	require.NoError(t, err)
	defer st.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var list []tasks.NewTask
	add := func(kind string, n int) {
		for i := range n {
			id := kind + " " + strconv.Itoa(i)
			list = append(list, tasks.NewTask{ID: id, Type: tasks.Form, Options: []tasks.CallOption{tasks.Input("text of " + id), tasks.Owner(kind)}})
		}
	}
	kinds := map[string]int{"good": *documents, "hang": 3*slots + 4, "panic": 10, "corrupt": 10, "poison": max(1, *documents/2000)}
	for _, kind := range []string{"poison", "hang", "panic", "corrupt", "good"} {
		add(kind, kinds[kind])
	}
	require.Nil(t, st.CreateMany(ctx, list))
	s := &service{t: t, path: path, stop: make(chan struct{}), pids: map[int]*os.Process{}}
	for i := range 3 {
		s.wg.Go(func() { s.keep(i) })
	}
	steps := []time.Duration{time.Hour, -2 * time.Hour, 8 * 24 * time.Hour}
	for i, want := range list {
		r, err := st.Wait(ctx, want.ID)
		require.NoError(t, err, want.ID)
		kind, _, _ := strings.Cut(want.ID, " ")
		if kind == "good" || kind == "hang" || kind == "panic" {
			require.Equal(t, tasks.Completed, r.Status, "%s: %s", want.ID, r.Error)
			require.Equal(t, fmt.Sprintf("%q", "text of "+want.ID), string(r.Raw))
		} else {
			require.Equal(t, tasks.Error, r.Status, want.ID)
		}
		if n := len(list) / 4; i%n == n-1 && i/n < len(steps) {
			require.NoError(t, os.WriteFile(path+".clock", []byte(steps[i/n].String()), 0o600))
			s.mu.Lock()
			_ = s.pids[i%3].Kill()
			s.mu.Unlock()
		}
	}
	close(s.stop)
	s.wg.Wait()
	for _, want := range list {
		attempts, err := st.Attempts(ctx, want.ID)
		require.NoError(t, err)
		info, err := st.Status(ctx, want.ID)
		require.NoError(t, err)
		require.Len(t, attempts, info.Attempts, want.ID)
		uncounted := 0
		for i, a := range attempts {
			require.Equal(t, i+1, a.Number)
			require.False(t, a.EndedAt.IsZero(), "attempt %d at %s is open", a.Number, want.ID)
			if a.Uncounted {
				uncounted++
			}
			if last := i == len(attempts)-1; last && info.Status == tasks.Completed {
				require.Empty(t, a.Error)
			} else {
				require.NotEmpty(t, a.Error, "attempt %d of %+v: %+v", a.Number, info, attempts)
			}
		}
		require.Equal(t, info.Uncounted, uncounted, want.ID)
	}
	counts, err := st.Count(ctx)
	require.NoError(t, err)
	done := kinds["good"] + kinds["hang"] + kinds["panic"]
	require.Equal(t, map[tasks.Status]int{tasks.Completed: done, tasks.Error: kinds["corrupt"] + kinds["poison"]}, counts[tasks.Form])
	var leases int
	require.NoError(t, openSQL(t, path).QueryRow("SELECT count(*) FROM task_leases").Scan(&leases))
	require.Zero(t, leases)
	var ok string
	require.NoError(t, openSQL(t, path).QueryRow("PRAGMA integrity_check").Scan(&ok))
	require.Equal(t, "ok", ok)
	s.mu.Lock()
	t.Logf("%d documents; %d processes died", len(list), s.died)
	s.mu.Unlock()
}
