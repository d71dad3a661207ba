package pagetest

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/stretchr/testify/require"
)

// service is a store and a server at an address, which can be cut off and started again.
type service struct {
	t      *testing.T
	path   string
	at     string // host and port
	store  *tasks.Store
	h      *taskhttp.Handler
	server *http.Server

	mu       sync.Mutex
	held     chan struct{} // lists are answered once it is closed; guarded by mu
	forget   bool          // streams begin anew instead of resuming; guarded by mu
	resumed  []string      // the Last-Event-IDs of streams, "" for those that have none; guarded by mu
	releases func()        // closes held, once; guarded by mu
}

// start starts it where it was, if it was.
func (s *service) start() {
	s.t.Helper()
	var err error
	s.store, err = tasks.Open(s.t.Context(), s.path, tasks.Types("scan"))
	require.NoError(s.t, err)
	s.h, err = taskhttp.New(s.store, tokens)
	require.NoError(s.t, err)
	l, err := net.Listen("tcp", s.at)
	require.NoError(s.t, err)
	s.at = l.Addr().String()
	s.server = taskhttp.NewServer("", s.h)
	s.server.Handler = s
	go s.server.Serve(l)
}

// kill ends it without a word to who is connected.
func (s *service) kill() {
	s.t.Helper()
	require.NoError(s.t, s.server.Close())
	s.h.Shutdown()
	require.NoError(s.t, s.store.Close())
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/tasks":
		s.mu.Lock()
		held := s.held
		s.mu.Unlock()
		if held != nil {
			select {
			case <-held:
			case <-r.Context().Done():
				return
			}
		}
	case "/events":
		s.mu.Lock()
		s.resumed = append(s.resumed, r.Header.Get("Last-Event-ID"))
		if s.forget {
			r.Header.Del("Last-Event-ID")
		}
		s.mu.Unlock()
	}
	s.h.ServeHTTP(w, r)
}

// hold has no list be answered until release is called: what the page learns, it learns from events.
func (s *service) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := make(chan struct{})
	s.held, s.releases = held, sync.OnceFunc(func() { close(held) })
}

func (s *service) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = nil
	s.releases()
}

// streams returns the Last-Event-IDs of the streams so far.
func (s *service) streams() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.resumed...)
}

// TestResume: after the connection was cut, or the server was killed and started again, the page goes on after the last event that it has heard,
// so that it shows what was created, changed and deleted meanwhile, without being loaded anew and without asking for the list.
// Where the server takes a stream that resumes for a new one, it doesn't: that is the control.
func TestResume(t *testing.T) {
	for _, c := range []struct {
		name         string
		kill, forget bool
	}{{"the connection is cut", false, false}, {"the server is started again", true, false}, {"control: the stream begins anew", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			s := &service{t: t, path: filepath.Join(t.TempDir(), "tasks.db"), at: "127.0.0.1:0", forget: c.forget}
			s.start()
			t.Cleanup(func() { s.kill() })
			ctx := t.Context()
			for _, id := range []string{"changes", "goes"} {
				require.NoError(t, s.store.Create(ctx, id, "scan"))
			}
			p := browse(t, "http://"+s.at+"/")
			p.signIn(adminToken)
			p.until(`document.querySelectorAll("#rows tr").length === 2`)
			// An event that it hears, so that what it resumes after isn't where it began.
			require.NoError(t, s.store.Create(ctx, "heard", "scan"))
			p.until(row("heard"))
			p.run(`window.loaded = "once"`)
			s.hold()
			t.Cleanup(s.release)
			before := s.streams()
			require.Len(t, before, 1)

			st := s.store
			if c.kill {
				s.kill()
				var err error
				st, err = tasks.Open(ctx, s.path, tasks.Types("scan"))
				require.NoError(t, err)
			} else {
				require.NoError(t, s.server.Close()) // with all connections
			}
			p.until(`document.querySelector("#link").textContent.startsWith("Not live")`)
			const many = 50
			for i := range many {
				require.NoError(t, st.Create(ctx, fmt.Sprintf("meanwhile-%02d", i), "scan"))
			}
			require.NoError(t, st.Cancel(ctx, "changes"))
			require.NoError(t, st.Delete(ctx, "goes"))
			if c.kill {
				require.NoError(t, st.Close())
				s.start()
			} else {
				l, err := net.Listen("tcp", s.at)
				require.NoError(t, err)
				s.server = taskhttp.NewServer("", s.h)
				s.server.Handler = s
				go s.server.Serve(l)
			}
			p.until(`document.querySelector("#link").textContent === "Live"`)
			require.NoError(t, s.store.Create(ctx, "after", "scan"))
			p.until(row("after"))
			meanwhile := `[...document.querySelectorAll("#rows tr")].filter((r) => r.textContent.includes("meanwhile-")).length`
			if c.forget {
				require.Equal(t, 0, js[int](p, meanwhile), "the control catches up though it can't")
				require.False(t, js[bool](p, row("changes")+`.textContent.includes("cancelled")`))
				require.True(t, js[bool](p, `Boolean(`+row("goes")+`)`))
				return
			}
			p.until(fmt.Sprint(meanwhile, " === ", many))
			p.until(row("changes") + `.textContent.includes("cancelled")`)
			p.until("!" + row("goes"))
			streams := s.streams()
			require.Greater(t, len(streams), 1)
			for _, id := range streams[1:] {
				require.NotEmpty(t, id)
			}
			require.Equal(t, "once", js[string](p, "window.loaded"))

			// What the list says, once it can be asked for, is what is shown already.
			shown := js[string](p, `document.querySelector("#rows").innerText`)
			s.release()
			p.run(`document.querySelector("#filter").requestSubmit()`)
			p.until(`performance.getEntriesByType("resource").filter((r) => r.name.includes("/tasks?")).at(-1).responseEnd > 0`)
			require.Equal(t, strings.Count(shown, "\n"), strings.Count(js[string](p, `document.querySelector("#rows").innerText`), "\n"))
			p.forgive()
			p.clean()
		})
	}
}
