package taskhttp_test

import (
	"bytes"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/stretchr/testify/require"
)

// BenchmarkFanOut has 5,000 streams of events open, changes a task, and reports when the median and the last of the streams have its event
// after the change was begun, and what memory a stream takes with its client's end of the connection, which is in the same process.
func BenchmarkFanOut(b *testing.B) {
	const streams = 5000
	st, err := tasks.Open(b.Context(), filepath.Join(b.TempDir(), "tasks.db"))
	require.NoError(b, err)
	defer st.Close()
	require.NoError(b, st.Create(b.Context(), "a", tasks.Form))
	h, err := taskhttp.New(st, testTokens, taskhttp.MaxStreams(streams, streams))
	require.NoError(b, err)
	server := serveBench(b, h, h)
	before := inUse()
	var connected sync.WaitGroup
	heard := make(chan time.Time, streams)
	for range streams {
		c, err := net.Dial("tcp", server.String())
		require.NoError(b, err)
		defer c.Close()
		_, err = c.Write([]byte("GET /events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n"))
		require.NoError(b, err)
		connected.Add(1)
		go func() {
			var buf [1024]byte
			for first := true; ; {
				n, err := c.Read(buf[:])
				if err != nil {
					return
				}
				if first && bytes.Contains(buf[:n], []byte(": connected")) {
					first = false
					connected.Done()
				}
				if bytes.Contains(buf[:n], []byte("event: task")) {
					heard <- time.Now()
				}
			}
		}()
	}
	connected.Wait()
	each := (inUse() - before) / streams / 1024
	var median, last []float64
	n := 0
	for b.Loop() {
		time.Sleep(50 * time.Millisecond) // the one before is told
		begun, took := time.Now(), []time.Duration(nil)
		n++
		require.NoError(b, st.Update(b.Context(), "a", tasks.Processing, n, tasks.Force()))
		for range streams {
			took = append(took, (<-heard).Sub(begun))
		}
		slices.Sort(took)
		median, last = append(median, took[streams/2].Seconds()*1000), append(last, took[streams-1].Seconds()*1000)
	}
	b.ReportMetric(each, "KiB/stream")
	slices.Sort(median)
	slices.Sort(last)
	b.ReportMetric(median[len(median)/2], "median-ms")
	b.ReportMetric(last[len(last)/2], "last-ms")
}

// inUse returns the memory of the heap and of stacks.
func inUse() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse)
}
