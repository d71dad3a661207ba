package taskhttp_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/stretchr/testify/require"
)

// BenchmarkLookup looks the statuses of tasks up over 64 connections on loopback, and in turn has net/http serve a constant
// of the same length. It reports both rates, and the ratio of the two. The client is as small as can be: it sends the same bytes
// again and again, and takes off as many as came the first time.
func BenchmarkLookup(b *testing.B) {
	st, err := tasks.Open(b.Context(), filepath.Join(b.TempDir(), "tasks.db"))
	require.NoError(b, err)
	defer st.Close()
	const many = 1000
	var list []tasks.NewTask
	for i := range many {
		list = append(list, tasks.NewTask{ID: fmt.Sprintf("task-%04d", i), Type: tasks.Form})
	}
	require.Nil(b, st.CreateMany(b.Context(), list))
	h, err := taskhttp.New(st, testTokens)
	require.NoError(b, err)
	s := serveBench(b, h, h)
	const connections = 64
	var body []byte
	known := make([]string, connections) // the entity tags
	for i := range known {
		resp := roundTrip(b, s, lookup(list[i].ID, ""))
		known[i] = "If-None-Match: " + resp.Header.Get("ETag")
		body, err = io.ReadAll(resp.Body)
		require.NoError(b, err)
	}
	constant := serveBench(b, h, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	}))
	drive := func(server net.Addr, headers []string) float64 {
		const each = 300
		var wg sync.WaitGroup
		start := time.Now()
		for i := range connections {
			wg.Go(func() {
				if err := again(server, lookup(list[i].ID, headers[i]), each); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		return connections * each / time.Since(start).Seconds()
	}
	for _, c := range []struct {
		name    string
		headers []string
	}{{"found", make([]string, connections)}, {"unchanged", known}} {
		b.Run(c.name, func(b *testing.B) {
			var look, plain float64
			for b.Loop() {
				look += 1 / drive(s, c.headers)
				plain += 1 / drive(constant, c.headers)
			}
			b.ReportMetric(float64(b.N)/look, "lookups/s")
			b.ReportMetric(float64(b.N)/plain, "constants/s")
			b.ReportMetric(plain/look, "x-constant")
		})
	}
}

// serveBench serves a handler until the end, by a server such as a Handler has.
func serveBench(b *testing.B, limits *taskhttp.Handler, h http.Handler) net.Addr {
	s := httptest.NewUnstartedServer(h)
	s.Config = taskhttp.NewServer("", limits)
	s.Config.Handler = h
	s.Start()
	b.Cleanup(func() { limits.Shutdown(); s.Close() })
	return s.Listener.Addr()
}

// lookup returns a request for a task, as it is sent.
func lookup(id, header string) []byte {
	if header != "" {
		header += "\r\n"
	}
	return []byte("GET /tasks/" + id + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminToken + "\r\n" + header + "\r\n")
}

// roundTrip makes a request over a connection of its own.
func roundTrip(tb testing.TB, server net.Addr, request []byte) *http.Response {
	tb.Helper()
	c, err := net.Dial("tcp", server.String())
	require.NoError(tb, err)
	tb.Cleanup(func() { c.Close() })
	_, err = c.Write(request)
	require.NoError(tb, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(tb, err)
	return resp
}

// again makes a request so many times over one connection.
func again(server net.Addr, request []byte, n int) error {
	c, err := net.Dial("tcp", server.String())
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReader(c)
	length, buf := 0, []byte(nil)
	for range n {
		if _, err := c.Write(request); err != nil {
			return err
		}
		if length == 0 {
			if length, err = responseLength(in); err != nil {
				return err
			}
			buf = make([]byte, length)
			continue
		}
		if _, err := io.ReadFull(in, buf); err != nil {
			return err
		}
		if !bytes.HasPrefix(buf, []byte("HTTP/1.1 200 ")) && !bytes.HasPrefix(buf, []byte("HTTP/1.1 304 ")) {
			return fmt.Errorf("answered %.100q", buf)
		}
	}
	if in.Buffered() > 0 {
		return errors.New("answers aren't all of one length")
	}
	return nil
}

// responseLength takes an answer off, and returns how many bytes it has.
func responseLength(in *bufio.Reader) (n int, err error) {
	body := 0
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		n += len(line)
		if text, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			if body, err = strconv.Atoi(strings.TrimSpace(text)); err != nil {
				return 0, err
			}
		}
		if line == "\r\n" {
			_, err = in.Discard(body)
			return n + body, err
		}
	}
}
