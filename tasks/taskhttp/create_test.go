package taskhttp_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/stretchr/testify/require"
)

// TestIdempotencyKey: a request that is made again creates nothing more and has the same answer, also after a restart;
// one with another payload is refused, and one while the first is in flight.
func TestIdempotencyKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	start := func() (*served, func()) {
		st, err := tasks.Open(t.Context(), path)
		require.NoError(t, err)
		s := serveStore(t, st)
		return s, func() { s.Server.Close(); require.NoError(t, st.Close()) }
	}
	s, stop := start()
	const payload = `{"type":"form","input":{"n":1},"labels":{"a":"b"},"priority":2}`
	resp, body := s.call(writerToken, "POST", "/tasks", payload, "Idempotency-Key", `"key 1"`)
	require.Equal(t, http.StatusCreated, resp.StatusCode, body)
	first, location := decode[taskhttp.Task](t, body), resp.Header.Get("Location")
	require.Equal(t, `{"a":"b"}`, labelsText(t, first))
	stop()

	s, stop = start()
	defer stop()
	for _, again := range []string{payload, strings.ReplaceAll(payload, ",", " , ")} {
		resp, body = s.call(writerToken, "POST", "/tasks", again, "Idempotency-Key", `"key 1"`)
		require.Equal(t, http.StatusCreated, resp.StatusCode, body)
		require.Equal(t, location, resp.Header.Get("Location"))
		require.Equal(t, first, decode[taskhttp.Task](t, body))
	}
	for _, other := range []string{
		`{"type":"document","input":{"n":1},"labels":{"a":"b"},"priority":2}`,
		`{"type":"form","input":{"n":2},"labels":{"a":"b"},"priority":2}`,
		`{"type":"form","input":{"n":1},"labels":{"a":"c"},"priority":2}`,
		`{"type":"form","input":{"n":1},"labels":{"a":"b"},"priority":2,"timeout":"5m"}`,
		`{"type":"form","id":"mine"}`,
	} {
		resp, body = s.call(writerToken, "POST", "/tasks", other, "Idempotency-Key", `"key 1"`)
		require.Equal(t, http.StatusUnprocessableEntity, resp.StatusCode, other)
		require.Contains(t, body, "idempotency-key-reused")
	}
	// Another owner's key is another one.
	resp, body = s.call(otherToken, "POST", "/tasks", payload, "Idempotency-Key", `"key 1"`)
	require.Equal(t, http.StatusCreated, resp.StatusCode, body)
	require.NotEqual(t, first.ID, decode[taskhttp.Task](t, body).ID)
	counts, err := s.Store.Count(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, counts[tasks.Form][tasks.Pending])
	// An id that is taken by another request is what it is without a key.
	resp, _ = s.call(writerToken, "POST", "/tasks", `{"type":"form","id":"mine"}`)
	require.Equal(t, http.StatusCreated, resp.StatusCode)
	resp, _ = s.call(writerToken, "POST", "/tasks", `{"type":"form","id":"mine"}`, "Idempotency-Key", "k2")
	require.Equal(t, http.StatusConflict, resp.StatusCode)
	for _, bad := range []string{`""`, strings.Repeat("x", 300), "é"} {
		resp, _ = s.call(writerToken, "POST", "/tasks", payload, "Idempotency-Key", bad)
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, bad)
	}
	resp, _ = s.call(writerToken, "POST", "/tasks", payload, "Idempotency-Key", "a", "Idempotency-Key", "b")
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
}

func labelsText(t *testing.T, task taskhttp.Task) string {
	t.Helper()
	text, err := task.Labels.MarshalJSON()
	require.NoError(t, err)
	return string(text)
}

// TestIdempotencyKeyInFlight: a request whose key is in flight is told so. The first one waits for its sync meanwhile.
func TestIdempotencyKeyInFlight(t *testing.T) {
	st, disk := onDisk(t)
	s := serveStore(t, st)
	goOn := disk.stop()
	defer goOn()
	first := make(chan int, 1)
	const payload = `{"type":"form"}`
	go func() {
		resp, _ := s.call(writerToken, "POST", "/tasks", payload, "Idempotency-Key", "k")
		first <- resp.StatusCode
	}()
	s.until(func() bool { return s.H.InFlight() == 1 })
	resp, body := s.call(writerToken, "POST", "/tasks", payload, "Idempotency-Key", "k")
	require.Equal(t, http.StatusConflict, resp.StatusCode)
	require.Contains(t, body, "in-flight")
	goOn()
	require.Equal(t, http.StatusCreated, <-first)
	resp, _ = s.call(writerToken, "POST", "/tasks", payload, "Idempotency-Key", "k")
	require.Equal(t, http.StatusCreated, resp.StatusCode)
}

// TestIdempotencyKeyMany: of many requests with a key, to two handlers as in two processes, one creates the task.
func TestIdempotencyKeyMany(t *testing.T) {
	s := serve(t)
	h, err := taskhttp.New(s.Store, testTokens)
	require.NoError(t, err)
	other := serveHandler(t, s.Store, h)
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids := map[string]bool{}
	for range 10 {
		for _, s := range []*served{s, other} {
			wg.Go(func() {
				for {
					resp, body := s.call(writerToken, "POST", "/tasks", `{"type":"form","input":1}`, "Idempotency-Key", "k")
					if resp.StatusCode == http.StatusCreated {
						mu.Lock()
						ids[decode[taskhttp.Task](t, body).ID] = true
						mu.Unlock()
						return
					}
					if resp.StatusCode != http.StatusConflict {
						t.Error(resp.Status, body)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	require.Len(t, ids, 1)
}

// TestCreateOptions: what a task is created with gets there.
func TestCreateOptions(t *testing.T) {
	s := serve(t)
	at := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	resp, body := s.call(adminToken, "POST", "/tasks", `{"id":"x","type":"form","input":"<\u2028é>","owner":"o","priority":-3,"max_attempts":2,
		"backoff":"10s","timeout":"1m","run_at":"`+at.Format(time.RFC3339Nano)+`"}`)
	require.Equal(t, http.StatusCreated, resp.StatusCode, body)
	task := decode[taskhttp.Task](t, body)
	require.Equal(t, at, *task.RunAt)
	require.Equal(t, "o", task.Owner)
	require.Equal(t, -3, task.Priority)
	_, body = s.call(adminToken, "GET", "/tasks/x/input", "")
	require.Equal(t, "\"<\u2028é>\"", body)
	require.NoError(t, s.Store.Warm(t.Context(), tasks.Form, map[string]int{"n": 1}, "known"))
	_, body = s.call(adminToken, "POST", "/tasks", `{"id":"y","type":"form","input":{"n":1},"from_cache":true,"max_attempts":1}`)
	require.Equal(t, tasks.Completed, decode[taskhttp.Task](t, body).Status, body)
	_, body = s.call(adminToken, "GET", "/tasks/y/result", "")
	require.Equal(t, `"known"`, body)
	for bad, status := range map[string]int{
		``:                                                  400,
		`{"type":"form"`:                                    400,
		`{"type":"form"} x`:                                 400,
		`[]`:                                                422,
		`{"type":"letter"}`:                                 422,
		`{"type":"form","unknown":1}`:                       422,
		`{"type":"form","priority":"high"}`:                 422,
		`{"type":"form","priority":1001}`:                   422,
		`{"type":"form","timeout":"soon"}`:                  422,
		`{"type":"form","timeout":"1ns"}`:                   422,
		`{"type":"form","id":"a\u0000"}`:                    422,
		`{"type":"form","id":".."}`:                         422,
		`{"type":"form","labels":{"":"x"}}`:                 422,
		`{"type":"form","run_at":"yesterday"}`:              422,
		`{"type":"form","id":"x"}`:                          409,
		`{"type":"form","labels":{"taskhttp.payload":"x"}}`: 422,
	} {
		resp, body := s.call(adminToken, "POST", "/tasks", bad, "Content-Type", "application/json")
		require.Equal(t, status, resp.StatusCode, "%s: %s", bad, body)
		require.Equal(t, status, decode[taskhttp.Problem](t, body).Status)
	}
	resp, _ = s.call(adminToken, "GET", "/tasks?limit=1", "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
}
