// Package soakhttp has clients of many sorts use a server of tasks for a long time: they come, stall, break off and go.
// Once they are gone, the server has left what it had before; no task and no event was lost, and each sort went on all the time.
package soakhttp

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

var (
	soakFor  = flag.Duration("soak", 8*time.Second, "how long to soak")
	patience = flag.Duration("patience", time.Minute, "how long a sort of clients, or the server, may make no progress before it is taken to hang")
)

const roleVar = "ASYNCVFS_SOAKHTTP_ROLE" // path of the file, and what the server does wrong

func TestMain(m *testing.M) {
	if role, ok := os.LookupEnv(roleVar); ok {
		fault, path, _ := strings.Cut(role, " ")
		if err := serve(path, fault); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// process is the server's process.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	said chan string // closed when it has ended
	path string      // of the database
	addr string
}

func start(dir, fault string) (*process, error) {
	p := &process{cmd: exec.Command(os.Args[0], "-test.run=^$"), said: make(chan string, 8), path: filepath.Join(dir, "tasks.db")}
	p.cmd.Env = append(os.Environ(), roleVar+"="+fault+" "+p.path)
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in = in
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.said)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.said <- lines.Text()
		}
	}()
	line, err := p.line()
	if _, e := fmt.Sscanf(line, "serves %s", &p.addr); err != nil || e != nil {
		return nil, errors.Join(err, e)
	}
	return p, nil
}

// line returns what the server says next.
func (p *process) line() (string, error) {
	select {
	case line, ok := <-p.said:
		if !ok {
			return "", errors.New("the server has ended by itself")
		}
		return line, nil
	case <-time.After(*patience):
		p.dump()
		return "", fmt.Errorf("the server says nothing for %v", *patience)
	}
}

// dump has the server write its goroutines to the log, and end.
func (p *process) dump() {
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	time.Sleep(time.Second)
}

// leaves are what the server has while no client is there.
type leaves struct{ conns, goroutines, heap, descriptors int }

func (p *process) left() (l leaves, err error) {
	if _, err := io.WriteString(p.in, "left\n"); err != nil {
		return l, err
	}
	line, err := p.line()
	if err != nil {
		return l, err
	}
	if _, err := fmt.Sscanf(line, "left %d %d %d", &l.conns, &l.goroutines, &l.heap); err != nil {
		return l, fmt.Errorf("%q: %w", line, err)
	}
	if runtime.GOOS == "linux" {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
		if err != nil {
			return l, err
		}
		l.descriptors = len(list)
	}
	return l, nil
}

// What the server may have more after a round than after the first: connections of the readers' pool, caches that fill, the feed that ends later.
const (
	slackGoroutines  = 8
	slackDescriptors = 40 // 8 connections that read, each with a few files
	slackHeap        = 48 << 20
)

// over returns what there is more than there was, beyond the slack.
func (l leaves) over(was leaves) error {
	var errs []error
	add := func(what string, n, most int) {
		if n > most {
			errs = append(errs, fmt.Errorf("%s: %d, want %d at most", what, n, most))
		}
	}
	add("connections", l.conns, 0)
	add("goroutines", l.goroutines, was.goroutines+slackGoroutines)
	add("descriptors", l.descriptors, was.descriptors+slackDescriptors)
	add("bytes of heap", l.heap, was.heap+was.heap/2+slackHeap)
	return errors.Join(errs...)
}

// settled returns what the server has left once its clients are gone, which it may take a while to notice.
func (p *process) settled(was leaves, patience time.Duration) (l leaves, err error) {
	for until := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		if l, err = p.left(); err != nil {
			return l, err
		}
		if err = l.over(was); err == nil || time.Now().After(until) {
			return l, err
		}
	}
}

// end ends the server, which answers who waits, and looks at its file.
func (p *process) end() error {
	p.in.Close()
	var said []string
	over := time.After(grace + *patience)
	for done := false; !done; {
		select {
		case line, ok := <-p.said:
			if done = !ok; ok {
				said = append(said, line)
			}
		case <-over:
			p.dump()
			return fmt.Errorf("the server doesn't end within its grace of %v and another %v", grace, *patience)
		}
	}
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("the server ends with %w", err)
	}
	if len(said) == 0 || said[len(said)-1] != "shut down" {
		return fmt.Errorf("the server has said %q at its end", said)
	}
	c, err := sqlite3.Open("file:" + filepath.ToSlash(p.path))
	if err != nil {
		return err
	}
	defer c.Close()
	stmt, _, err := c.Prepare("PRAGMA integrity_check")
	if err != nil {
		return err
	}
	defer stmt.Close()
	if !stmt.Step() || stmt.ColumnText(0) != "ok" {
		return fmt.Errorf("integrity_check: %q, %w", stmt.ColumnText(0), stmt.Err())
	}
	return nil
}

// run soaks: a first round, after which the server has what it needs, and others, after each of which it has no more than that.
// Clients may make no progress for as long as its patience, and the server takes so long at most to notice that they are gone.
func run(t *testing.T, fault string, all, patience, notice time.Duration) (err error) {
	p, err := start(t.TempDir(), fault)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = p.cmd.Process.Kill()
			for range p.said {
			}
		}
	}()
	s := newSoak(p, patience)
	warm := min(all/4, 2*time.Minute)
	t0 := time.Now()
	if err := s.round(warm); err != nil {
		return err
	}
	first, err := p.settled(leaves{goroutines: 1 << 20, descriptors: 1 << 20, heap: 1 << 40}, notice)
	if err != nil {
		return err
	}
	t.Logf("after the first round: %+v", first)
	sizeFirst := fileSize(p.path)
	for n := 2; n < 4 || time.Since(t0) < all; n++ {
		if err := s.round(min((all-warm)/2, 2*time.Minute)); err != nil {
			return fmt.Errorf("round %d: %w", n, err)
		}
		l, err := p.settled(first, notice)
		t.Logf("%6.0fs, after round %d: %+v, file of %d KiB; %s", time.Since(t0).Seconds(), n, l, fileSize(p.path)>>10, s.did())
		if err != nil {
			return fmt.Errorf("left after round %d: %w", n, err)
		}
	}
	if size := fileSize(p.path); size > 3*sizeFirst+64<<20 {
		return fmt.Errorf("the file has grown from %d to %d bytes", sizeFirst, size)
	}
	if err := s.checkKept(); err != nil {
		return err
	}
	gone := s.stayUntilTheEnd()
	err = p.end()
	gone()
	return err
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func TestSoak(t *testing.T) {
	if falseRaces {
		t.Skip("the race detector doesn't see all of what is synchronized")
	}
	require.NoError(t, run(t, "", *soakFor, *patience, *patience))
}

// TestSoakNotices: the soak fails if the server does what it is there to notice.
func TestSoakNotices(t *testing.T) {
	if falseRaces {
		t.Skip("the race detector doesn't see all of what is synchronized")
	}
	if testing.Short() {
		t.Skip("starts servers")
	}
	for fault, want := range map[string]struct {
		says     string // an expression
		patience time.Duration
	}{
		"goroutines":  {"goroutines: ", time.Minute},
		"descriptors": {"descriptors: ", time.Minute},
		"heap":        {"bytes of heap: ", time.Minute},
		"hang":        {"stats(: no progress|:1.: no progress)", 4 * time.Second},
		"events":      {"event was lost", 10 * time.Second},
		"tasks":       {"acknowledged|status 404", time.Minute},
	} {
		if fault == "descriptors" && runtime.GOOS != "linux" {
			continue
		}
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			err := run(t, fault, 3*time.Second, want.patience, 3*time.Second)
			require.Error(t, err)
			require.Regexp(t, want.says, err.Error())
		})
	}
}

// soak are the clients, and what they know.
type soak struct {
	p        *process
	patience time.Duration
	ctx      context.Context // until something fails
	fail     context.CancelCauseFunc
	rounds   int
	hung     error // what made no progress; those who lose the server for that fail too

	mu      sync.Mutex
	counts  map[string]int           // what was done; guarded by mu
	running map[string]int           // clients that are there, by their sort; guarded by mu
	acked   map[string]time.Time     // tasks that were created, those of the last minute; guarded by mu
	expect  map[*resumer]expectation // what resumers are to be told; guarded by mu
	number  int                      // of the last task; guarded by mu
}

func newSoak(p *process, patience time.Duration) *soak {
	ctx, fail := context.WithCancelCause(context.Background())
	return &soak{p: p, patience: patience, ctx: ctx, fail: fail, counts: map[string]int{}, running: map[string]int{}, acked: map[string]time.Time{}, expect: map[*resumer]expectation{}}
}

func (s *soak) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

func (s *soak) did() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.counts)
}

// round has clients of all sorts come and go for a time, and returns when all are gone.
func (s *soak) round(d time.Duration) error {
	s.rounds++
	over, stop := context.WithTimeout(s.ctx, d)
	defer stop()
	var clients sync.WaitGroup
	for _, k := range kinds {
		for range k.clients {
			s.begin(k.name)
			clients.Go(func() {
				defer s.end(k.name)
				for over.Err() == nil {
					c := newClient(s)
					err := k.cycle(c, over)
					c.close()
					if err != nil {
						s.fail(fmt.Errorf("%s: %w", k.name, err))
						return
					}
					s.count(k.name)
					pause(over, 30)
				}
			})
		}
	}
	resumers := s.startResumers()
	clientsGone, gone := make(chan struct{}), make(chan struct{})
	go func() {
		clients.Wait()
		close(clientsGone)
		resumers() // which go when they have heard of everything
		close(gone)
	}()
	s.watch(over, clientsGone, gone)
	return cmp.Or(s.hung, context.Cause(s.ctx))
}

// watch returns when all are gone, and sees to it that each sort of clients makes progress until the round is over, and any does until
// the clients are gone. Whether those who resume do is seen by themselves: they may have much to hear of.
func (s *soak) watch(over context.Context, clientsGone, gone <-chan struct{}) {
	was, since := map[string]int{}, map[string]time.Time{}
	for _, k := range kinds {
		since[k.name] = time.Now()
	}
	last := time.Now() // of them all
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case <-gone:
			tick.Stop()
			return
		case <-clientsGone:
			clientsGone = nil
			continue
		case <-tick.C:
		}
		if s.ctx.Err() != nil {
			<-gone
			return
		}
		s.mu.Lock()
		hangs := ""
		for _, k := range kinds {
			if n := s.counts[k.name]; n != was[k.name] {
				was[k.name], since[k.name], last = n, time.Now(), time.Now()
			} else if over.Err() == nil && time.Since(since[k.name]) > s.patience {
				hangs = k.name
			}
		}
		if clientsGone != nil && over.Err() != nil && time.Since(last) > s.patience {
			hangs = fmt.Sprint("clients that don't come to their end: ", s.running)
		}
		s.mu.Unlock()
		if hangs != "" {
			s.hung = fmt.Errorf("%s: no progress for %v", hangs, s.patience)
			s.p.dump() // while they are there
			s.fail(s.hung)
		}
	}
}

func (s *soak) begin(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[kind]++
}

func (s *soak) end(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[kind]--; s.running[kind] == 0 {
		delete(s.running, kind)
	}
}
