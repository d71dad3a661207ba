package vfsmetrics

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docusnap/asyncvfs/vfs"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Register makes the instruments of package vfs, and measures the databases of this process, open or not yet, until stop is called.
//
// The error is the provider's.
func Register(p metric.MeterProvider, opts ...Option) (stop func(), err error) {
	m := &databases{live: map[string]*series{}}
	m.known.Store(&map[string]*series{})
	for _, o := range opts {
		o(&m.config)
	}
	meter := p.Meter(scopeVFS)
	if err := m.histograms(meter); err != nil {
		return nil, err
	}
	callback, err := m.observe(meter)
	if err != nil {
		return nil, err
	}
	remove := vfs.AddEvents(vfs.Events{
		DatabaseClosed:  m.closed,
		SyncEnded:       m.synced,
		CommitWaited:    m.waited,
		StallEnded:      m.stalled,
		CheckpointEnded: m.checkpointed,
	}, m.config.databases...)
	return func() {
		remove()
		callback.Unregister()
		m.flush()
	}, nil
}

// databases measures the databases of a process.
type databases struct {
	config config

	walSync, dbSync, wait, stall, checkpoint metric.Float64Histogram

	counters []counter
	gauges   []gauge

	// known is looked at for each commit: without a lock, and replaced as a whole.
	known atomic.Pointer[map[string]*series] // by path

	mu   sync.Mutex
	live map[string]*series // by the attribute's value
}

// series is what a database's instruments have in common.
type series struct {
	attributes attribute.Set
	// The options of each instrument, made once: a commit allocates none.
	plain, failed              []metric.RecordOption
	pending, held              []metric.RecordOption
	background, foreground     []metric.RecordOption
	backgroundErr, foregroundE []metric.RecordOption

	waits waits

	// databases.mu guards what follows.
	ended []int64 // of each counter, of the times that it was open before
	told  []int64 // of each counter, which never goes down
}

// of returns a database's series.
func (m *databases) of(path string) *series {
	if s := (*m.known.Load())[path]; s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.add(path)
}

// add is called with m.mu held.
func (m *databases) add(path string) *series {
	known := *m.known.Load()
	if s := known[path]; s != nil {
		return s
	}
	name := path
	switch {
	case m.config.nameless:
		name = ""
	case len(m.live) >= maxDatabases:
		name = otherPath
	}
	s := m.live[name]
	if s == nil {
		s = newSeries(name, len(m.counters))
		m.live[name] = s
	}
	if len(known) < 10*maxDatabases { // those that come after are looked up each time
		known = maps.Clone(known)
		known[path] = s
		m.known.Store(&known)
	}
	return s
}

func newSeries(name string, counters int) *series {
	var own []attribute.KeyValue
	if name != "" {
		own = append(own, keyDatabase.String(name))
	}
	with := func(more ...attribute.KeyValue) []metric.RecordOption {
		return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(append(slices.Clone(own), more...)...))}
	}
	return &series{
		attributes:    attribute.NewSet(own...),
		plain:         with(),
		failed:        with(keyError.String("fsync")),
		pending:       with(keyReason.String(vfs.StallPending.String())),
		held:          with(keyReason.String(vfs.StallCheckpoint.String())),
		background:    with(keyBackground.Bool(true)),
		foreground:    with(keyBackground.Bool(false)),
		backgroundErr: with(keyBackground.Bool(true), keyError.String("checkpoint")),
		foregroundE:   with(keyBackground.Bool(false), keyError.String("checkpoint")),
		ended:         make([]int64, counters),
		told:          make([]int64, counters),
	}
}

func (m *databases) histograms(meter metric.Meter) error {
	var bounds []float64
	for _, b := range vfs.HistogramBounds() {
		bounds = append(bounds, b.Seconds())
	}
	var errs []error
	histogram := func(name, description string) metric.Float64Histogram {
		h, err := meter.Float64Histogram(name, metric.WithDescription(description), metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(bounds...))
		errs = append(errs, err)
		return h
	}
	m.walSync = histogram("asyncvfs.wal.sync.duration", "Duration of syncs of the WAL.")
	m.dbSync = histogram("asyncvfs.db.sync.duration", "Duration of syncs of the database file in WAL mode.")
	m.wait = histogram("asyncvfs.commit.wait.duration", "Time that commits at synchronous=FULL waited to become durable.")
	m.stall = histogram("asyncvfs.commit.stall.duration", "Time that commits waited because too much wasn't durable, or for a checkpoint.")
	m.checkpoint = histogram("asyncvfs.checkpoint.duration", "Duration of checkpoints.")
	return errors.Join(errs...)
}

// The events. The context is none of the application's: they come from syncs that many commits share.

func (m *databases) synced(e vfs.SyncEvent) {
	s := m.of(e.Database)
	opts := s.plain
	if e.Err != nil {
		opts = s.failed
	}
	switch e.File {
	case "wal":
		m.walSync.Record(context.Background(), e.Duration.Seconds(), opts...)
	case "db":
		m.dbSync.Record(context.Background(), e.Duration.Seconds(), opts...)
	}
}

func (m *databases) waited(i vfs.CommitWaitedInfo) {
	s := m.of(i.Database)
	s.waits.add(i.Duration, m.wait, s.plain)
}

func (m *databases) stalled(i vfs.StallEndedInfo) {
	s := m.of(i.Database)
	opts := s.pending
	if i.Reason == vfs.StallCheckpoint {
		opts = s.held
	}
	m.stall.Record(context.Background(), i.Duration.Seconds(), opts...)
}

func (m *databases) checkpointed(i vfs.CheckpointEndedInfo) {
	s := m.of(i.Database)
	opts := s.foreground
	switch {
	case i.Background && i.Err != nil:
		opts = s.backgroundErr
	case i.Background:
		opts = s.background
	case i.Err != nil:
		opts = s.foregroundE
	}
	m.checkpoint.Record(context.Background(), i.Duration.Seconds(), opts...)
}

// closed keeps what a database has counted, for when it is opened again.
func (m *databases) closed(i vfs.DatabaseClosedInfo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.add(i.Database)
	for n, c := range m.counters {
		s.ended[n] += c.of(i.Statistics)
	}
}

// flush records the waits that are gathered.
func (m *databases) flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.live {
		s.waits.flush(m.wait, s.plain)
	}
}

// concerns reports whether a database is one of those to measure.
func (m *databases) concerns(path string) bool {
	if len(m.config.databases) == 0 {
		return true
	}
	return slices.ContainsFunc(m.config.databases, func(name string) bool {
		if full, err := filepath.Abs(name); name == path || err == nil && full == path {
			return true
		}
		a, err := os.Stat(name)
		if err != nil {
			return false
		}
		b, err := os.Stat(path)
		return err == nil && os.SameFile(a, b)
	})
}

func seconds(micros int64) float64 { return (time.Duration(micros) * time.Microsecond).Seconds() }
