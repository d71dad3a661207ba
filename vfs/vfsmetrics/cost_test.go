package vfsmetrics_test

import (
	"fmt"
	"io"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/docusnap/asyncvfs/vfs/vfsmetrics"
	"github.com/docusnap/asyncvfs/vfs/vfsmetrics/prom"
	"github.com/stretchr/testify/require"
)

// BenchmarkCost is what measuring costs: commits per second of 64 connections with it, as a part of those without.
// Both are measured in slices of time that take turns, as in with, without, without, with, while the same connections go on.
// A scrape is made every few seconds. Where the machine has other things to do, the processor time of a commit tells more than commits per second.
// With attached=nothing nothing is attached in the slices that are called those with it: how far these ratios are from 1 is the noise of the measurement.
//
//	make bench-metrics
func BenchmarkCost(b *testing.B) {
	for _, c := range []struct {
		level    vfs.Level
		attached string
	}{{vfs.Full, "metrics"}, {vfs.Full, "nothing"}, {vfs.Normal, "metrics"}} {
		b.Run(fmt.Sprintf("conns=64/level=%v/attached=%s", c.level, c.attached), func(b *testing.B) {
			for b.Loop() {
				rates, cpu, commits, perCommit := costPairs(b, c.level, c.attached == "metrics", 64, 250, 40*time.Millisecond)
				report(b, "commits/s-ratio", rates)
				report(b, "cpu/commit-ratio", cpu)
				b.ReportMetric(commits, "commits/s")
				b.ReportMetric(perCommit.Seconds()*1e9, "cpu-ns/commit")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// report reports the median of ratios, with to without, and the quartiles.
func report(b *testing.B, name string, ratios []float64) {
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], name)
	b.ReportMetric(ratios[len(ratios)/4], name+"-q1")
	b.ReportMetric(ratios[len(ratios)*3/4], name+"-q3")
}

// slice is what happened in a slice of time.
type slice struct {
	commits float64
	took    time.Duration
	cpu     time.Duration
}

// ratio returns commits per second, and processor time per commit, of slices to others.
func ratio(with, without [2]slice) (rate, cpu float64) {
	sum := func(s [2]slice) slice {
		return slice{s[0].commits + s[1].commits, s[0].took + s[1].took, s[0].cpu + s[1].cpu}
	}
	a, b := sum(with), sum(without)
	return a.commits / a.took.Seconds() / (b.commits / b.took.Seconds()), a.cpu.Seconds() / a.commits / (b.cpu.Seconds() / b.commits)
}

func costPairs(b *testing.B, level vfs.Level, attach bool, conns, pairs int, length time.Duration) (rates, cpus []float64, perSecond float64, cpuPerCommit time.Duration) {
	provider, handler, err := prom.New(nil)
	require.NoError(b, err)
	defer provider.Shutdown(b.Context())
	path := tempDB(b)
	first := openDB(b, path, vfs.Synchronous(level))
	exec(b, first, "CREATE TABLE t(x)")
	var done atomic.Bool
	var wg sync.WaitGroup
	for range conns {
		c := openDB(b, path, vfs.Synchronous(level))
		wg.Go(func() {
			s, _, err := c.Prepare("INSERT INTO t VALUES(zeroblob(100))")
			if err != nil {
				b.Error(err)
				return
			}
			defer s.Close()
			for !done.Load() {
				if err := s.Exec(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	defer func() { done.Store(true); wg.Wait() }()

	run := func(with bool) (s slice) {
		if with && attach {
			stop, err := vfsmetrics.Register(provider, vfsmetrics.Databases(path))
			require.NoError(b, err)
			defer stop()
		}
		start, cpu, before := time.Now(), vfsmetrics.CPUTime(), stats(b, path).Commits
		time.Sleep(length)
		return slice{float64(stats(b, path).Commits - before), time.Since(start), vfsmetrics.CPUTime() - cpu}
	}
	run(true) // warm
	start, cpu, before := time.Now(), vfsmetrics.CPUTime(), stats(b, path).Commits
	for i := range pairs {
		a, x, y, z := run(true), run(false), run(false), run(true)
		rate, perCommit := ratio([2]slice{a, z}, [2]slice{x, y})
		rates, cpus = append(rates, rate), append(cpus, perCommit)
		if i%8 == 0 {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			io.Copy(io.Discard, w.Body)
		}
	}
	commits := float64(stats(b, path).Commits - before)
	return rates, cpus, commits / time.Since(start).Seconds(), time.Duration(float64(vfsmetrics.CPUTime()-cpu) / commits)
}
