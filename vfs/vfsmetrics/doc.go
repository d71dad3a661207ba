// Package vfsmetrics measures package vfs, and tasks on it, with instruments of OpenTelemetry.
//
//	stop, err := vfsmetrics.Register(provider)          // all databases of the process
//	m, err := vfsmetrics.NewTasks(provider)             // tasks.Open(ctx, path, tasks.WithHooks(m.Hooks()))
//	stop, err := m.Observe(store)
//
// The provider is any [metric.MeterProvider]; package [github.com/docusnap/asyncvfs/vfs/vfsmetrics/prom] has one for Prometheus.
// It is a module of its own: who uses package vfs alone downloads nothing of it.
//
// # What there is
//
// Times are in seconds, sizes in bytes. Each instrument of a database has the attribute asyncvfs.database, its path, unless [WithoutDatabase] is set;
// those of tasks have tasks.type. No attribute has a task's id. What Prometheus calls them is in brackets where a unit is added.
//
//   - asyncvfs.wal.sync.duration, asyncvfs.db.sync.duration: histograms of syncs; error.type is set on those that failed
//     (…_duration_seconds).
//   - asyncvfs.commit.wait.duration: histogram of the waits of commits at FULL.
//   - asyncvfs.commit.stall.duration: histogram of commits that waited for another reason, asyncvfs.stall.reason:
//     pending (too much isn't durable yet) or checkpoint (so that the WAL stays bounded).
//   - asyncvfs.checkpoint.duration: histogram of checkpoints; asyncvfs.checkpoint.background tells the library's own from SQLite's.
//   - asyncvfs.commits, asyncvfs.commit.cancelled, asyncvfs.sync.requests, asyncvfs.sync.merged, asyncvfs.checkpoints,
//     asyncvfs.checkpoint.failures, asyncvfs.wal.restarts: counters (…_total).
//   - asyncvfs.commit.pending.commits, asyncvfs.commit.pending.bytes, asyncvfs.commit.pending.age: what a power cut would lose now.
//   - asyncvfs.commit.loss_window.max, asyncvfs.sync.duration.max, asyncvfs.commit.wait.max: the longest of the last minute.
//   - asyncvfs.wal.size, asyncvfs.database.failed, asyncvfs.database.sync_mode (0 or 1).
//
// Of tasks:
//
//   - tasks.created, tasks.claimed, tasks.finished (by tasks.status and tasks.cancelled), tasks.attempts (by tasks.outcome),
//     tasks.leases.lost, tasks.handlers.stuck, tasks.trouble, tasks.cache.hits: counters of what this process has done.
//   - tasks.queue.duration: histogram of how long tasks waited for a worker.
//   - tasks.attempt.duration: histogram of handlers, by tasks.outcome.
//   - tasks.duration: histogram from creation to the end, of tasks that a worker has ended.
//   - tasks.stored (by tasks.status), tasks.pending.age of the oldest that could run: of the whole table, whoever works on it.
//   - tasks.cache.misses, tasks.cache.shared, tasks.cache.computed, tasks.cache.evicted, tasks.cache.entries, tasks.cache.size.
//
// A dashboard for Grafana and alert rules for Prometheus are in the folder grafana and prometheus beside this file.
//
// # Cost
//
// Counters and gauges are read from the statistics when a reader collects, at no cost for commits.
// Histograms are recorded at each sync; the waits of commits at FULL are gathered, and recorded 64 at a time, and when a reader collects.
// Nothing is allocated for it. With metrics attached, 64 connections at FULL make 0.989 times the commits/s, the median of 250 pairs (quartiles 0.946 and 1.037),
// beside 1.000 (0.957 and 1.063) with nothing attached; one recorded event takes 0.20 to 0.27 µs (“make bench-metrics”, 2 cores).
//
// # Traces
//
// [TraceLabels] stores the creator's trace context in a task's labels, and [Tracing] has each attempt be a span of that trace,
// on whichever machine it runs.
package vfsmetrics
