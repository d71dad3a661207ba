package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/stretchr/testify/require"
)

const (
	httpClients = 64
	httpWorkers = 8 // of each server
	// httpPause is how long a client waits between two looks at its task.
	httpPause = 5 * time.Millisecond
	httpTime  = 4 * time.Second
)

// BenchmarkHTTP has 64 clients create tasks over HTTP, look at each until it is done, and read its result: at package taskhttp and, in turn,
// at Python's threaded server with the Python module's statements, a connection for each call. It reports the tasks per second of both,
// how long calls took (median and p99.9), and the ratios (median, least and greatest of three runs). The clients are in this process, and so is
// taskhttp; Python has one of its own.
func BenchmarkHTTP(b *testing.B) {
	if err := exec.Command("python3", "-c", "import sqlite3, http.server").Run(); err != nil {
		b.Skip("there is no Python 3 with sqlite3: ", err)
	}
	const pairs = 3
	for b.Loop() {
		values := map[string][]float64{}
		run := func(prefix string, serve func(*testing.B) (string, func())) (perSecond, tail float64) {
			url, stop := serve(b)
			defer stop()
			tasks, latencies := httpLives(b, url)
			require.NotZero(b, tasks)
			tail = latencies[len(latencies)*999/1000].Seconds() * 1000
			perSecond = float64(tasks) / httpTime.Seconds()
			values[prefix+"tasks/s"] = append(values[prefix+"tasks/s"], perSecond)
			values[prefix+"p50-ms"] = append(values[prefix+"p50-ms"], latencies[len(latencies)/2].Seconds()*1000)
			values[prefix+"p99.9-ms"] = append(values[prefix+"p99.9-ms"], tail)
			return perSecond, tail
		}
		for range pairs {
			python, pythonTail := run("python-", servePython)
			ours, tail := run("", serveTasks)
			values["x-python"] = append(values["x-python"], ours/python)
			values["p99.9-x-python"] = append(values["p99.9-x-python"], tail/pythonTail)
		}
		for unit, v := range values {
			slices.Sort(v)
			b.ReportMetric(v[pairs/2], unit)
		}
		b.ReportMetric(values["x-python"][0], "min-x-python")
		b.ReportMetric(values["x-python"][pairs-1], "max-x-python")
	}
}

// servePython serves until stop is called.
func servePython(b *testing.B) (url string, stop func()) {
	path, keep := moduleDatabase(b)
	cmd := exec.Command("python3", filepath.Join("testdata", "server.py"), path, fmt.Sprint(httpWorkers))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(b, err)
	return "http://127.0.0.1:" + strings.TrimSpace(line), func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		require.NoError(b, keep.Close())
	}
}

// serveTasks serves until stop is called.
func serveTasks(b *testing.B) (url string, stop func()) {
	st, err := tasks.Open(b.Context(), filepath.Join(b.TempDir(), "tasks.db"))
	require.NoError(b, err)
	h, err := taskhttp.New(st, taskhttp.Open())
	require.NoError(b, err)
	s := httptest.NewUnstartedServer(h)
	s.Config = taskhttp.NewServer("", h)
	s.Start()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		ended <- st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Document: func(context.Context, tasks.Info) (any, error) { return result500, nil }}, httpWorkers)
	}()
	return s.URL, func() {
		h.Shutdown()
		s.Close()
		cancel()
		require.NoError(b, <-ended)
		require.NoError(b, st.Close())
	}
}

// httpLives has the clients work until the time is over. It returns how many tasks came to their end, and the sorted latencies of all calls.
func httpLives(b *testing.B, url string) (done int, latencies []time.Duration) {
	transport := &http.Transport{MaxIdleConnsPerHost: httpClients}
	defer transport.CloseIdleConnections()
	c := &httpClient{url: url, Client: http.Client{Transport: transport, Timeout: time.Minute}}
	ctx, cancel := context.WithTimeout(context.Background(), httpTime)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range httpClients {
		wg.Go(func() {
			n, took, err := c.lives(ctx)
			if err != nil && ctx.Err() == nil {
				b.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			done, latencies = done+n, append(latencies, took...)
		})
	}
	wg.Wait()
	slices.Sort(latencies)
	return done, latencies
}

// httpClient makes the calls of a client.
type httpClient struct {
	url string
	http.Client
}

// lives takes tasks through their lives, one after the other. A call that the end has cut off counts as not made.
func (c *httpClient) lives(ctx context.Context) (n int, took []time.Duration, err error) {
	call := func(method, path, body string, into any) error {
		begun := time.Now()
		err := c.call(ctx, method, path, body, into)
		if err == nil {
			took = append(took, time.Since(begun))
		}
		return err
	}
	for {
		var task struct{ ID, Status string }
		if err := call("POST", "/tasks", `{"type":"document"}`, &task); err != nil {
			return n, took, err
		}
		path := "/tasks/" + task.ID
		for task.Status != "completed" {
			time.Sleep(httpPause)
			if err := call("GET", path, "", &task); err != nil {
				return n, took, err
			}
		}
		var result map[string]string
		if err := call("GET", path+"/result", "", &result); err != nil {
			return n, took, err
		}
		if result["text"] != result500["text"] {
			return n, took, fmt.Errorf("the result is %v", result)
		}
		n++
	}
}

func (c *httpClient) call(ctx context.Context, method, path, body string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: status %d: %s", method, path, resp.StatusCode, bytes.TrimSpace(text))
	}
	return json.Unmarshal(text, into)
}
