package vfsmetrics

import (
	"context"
	"errors"

	"github.com/docusnap/asyncvfs/vfs"
	"go.opentelemetry.io/otel/metric"
)

// counter is a total of [vfs.Statistics].
type counter struct {
	name, unit, description string
	of                      func(vfs.Statistics) int64
	instrument              metric.Int64ObservableCounter
}

func counters() []counter {
	return []counter{
		{"asyncvfs.commits", "{commit}", "Commits in WAL mode.", func(s vfs.Statistics) int64 { return int64(s.Commits) }, nil},
		{"asyncvfs.commit.cancelled", "{commit}", "Commits that were cancelled while they waited to become durable.", func(s vfs.Statistics) int64 { return int64(s.CancelledCommits) }, nil},
		{"asyncvfs.sync.requests", "{request}", "Requests for a sync.", func(s vfs.Statistics) int64 { return int64(s.SyncRequests) }, nil},
		{"asyncvfs.sync.merged", "{request}", "Requests that shared a sync with an earlier one.", func(s vfs.Statistics) int64 { return int64(s.Merged) }, nil},
		{"asyncvfs.checkpoints", "{checkpoint}", "Checkpoints that had something to do.", func(s vfs.Statistics) int64 { return int64(s.Checkpoints) }, nil},
		{"asyncvfs.checkpoint.failures", "{failure}", "Checkpoints in the background that failed.", func(s vfs.Statistics) int64 { return int64(s.FailedCheckpoints) }, nil},
		{"asyncvfs.wal.restarts", "{restart}", "Times that the WAL was started over.", func(s vfs.Statistics) int64 { return int64(s.WALRestarts) }, nil},
	}
}

// gauge is a state of [vfs.Statistics].
type gauge struct {
	name, unit, description string
	of                      func(vfs.Statistics) float64
	instrument              metric.Float64ObservableGauge
}

func gauges() []gauge {
	return []gauge{
		{"asyncvfs.commit.pending.commits", "{commit}", "Commits at synchronous=NORMAL that aren't durable.", func(s vfs.Statistics) float64 { return float64(s.PendingCommits) }, nil},
		{"asyncvfs.commit.pending.bytes", "By", "Bytes of the WAL that aren't durable.", func(s vfs.Statistics) float64 { return float64(s.PendingBytes) }, nil},
		{"asyncvfs.commit.pending.age", "s", "Time since the oldest commit returned that isn't durable.", func(s vfs.Statistics) float64 { return seconds(s.OldestPendingMicros) }, nil},
		{"asyncvfs.commit.loss_window.max", "s", "Longest time of the last minute for which a commit had returned and wasn't durable.", func(s vfs.Statistics) float64 { return seconds(s.LossWindow.RecentMaxMicros) }, nil},
		{"asyncvfs.sync.duration.max", "s", "Longest sync of the last minute.", func(s vfs.Statistics) float64 {
			return seconds(max(s.WALSyncTime.RecentMaxMicros, s.DBSyncTime.RecentMaxMicros))
		}, nil},
		{"asyncvfs.commit.wait.max", "s", "Longest time of the last minute that a commit at synchronous=FULL waited to become durable.", func(s vfs.Statistics) float64 { return seconds(s.CommitWait.RecentMaxMicros) }, nil},
		{"asyncvfs.wal.size", "By", "Size of the WAL file.", func(s vfs.Statistics) float64 { return float64(s.WALBytes) }, nil},
		{"asyncvfs.database.failed", "", "1 once a sync has failed, and no commit is taken.", func(s vfs.Statistics) float64 { return one(s.Failed != "") }, nil},
		{"asyncvfs.database.sync_mode", "", "1 while every commit waits to become durable, whatever its level.", func(s vfs.Statistics) float64 { return one(s.Mode == vfs.Sync) }, nil},
	}
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// observe makes the instruments that are read when somebody collects.
func (m *databases) observe(meter metric.Meter) (metric.Registration, error) {
	m.counters, m.gauges = counters(), gauges()
	var errs []error
	var all []metric.Observable
	for i := range m.counters {
		c := &m.counters[i]
		var err error
		c.instrument, err = meter.Int64ObservableCounter(c.name, metric.WithDescription(c.description), metric.WithUnit(c.unit))
		errs, all = append(errs, err), append(all, c.instrument)
	}
	for i := range m.gauges {
		g := &m.gauges[i]
		var err error
		g.instrument, err = meter.Float64ObservableGauge(g.name, metric.WithDescription(g.description), metric.WithUnit(g.unit))
		errs, all = append(errs, err), append(all, g.instrument)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return meter.RegisterCallback(m.collect, all...)
}

// collect tells of each database, and of those that are closed what they have counted.
func (m *databases) collect(_ context.Context, o metric.Observer) error {
	open := map[*series][]vfs.Statistics{}
	all := vfs.AllStats()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, stats := range all {
		if m.concerns(stats.Database) {
			s := m.add(stats.Database)
			open[s] = append(open[s], stats)
		}
	}
	for _, s := range m.live {
		s.waits.flush(m.wait, s.plain)
		with := metric.WithAttributeSet(s.attributes)
		for n, c := range m.counters {
			total := s.ended[n]
			for _, stats := range open[s] {
				total += c.of(stats)
			}
			// One that is being closed is for a moment in neither.
			s.told[n] = max(s.told[n], total)
			o.ObserveInt64(c.instrument, s.told[n], with)
		}
		if len(open[s]) == 0 {
			continue
		}
		for _, g := range m.gauges {
			var most float64
			for _, stats := range open[s] {
				most = max(most, g.of(stats))
			}
			o.ObserveFloat64(g.instrument, most, with)
		}
	}
	return nil
}
