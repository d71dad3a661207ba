package peers

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	_ "github.com/mattn/go-sqlite3"
	"github.com/mikestefanello/backlite"
	"github.com/stretchr/testify/require"
	"maragu.dev/goqite"
)

// text is what a task comes to, of about 500 bytes.
var text = strings.Repeat("page ", 97)

// life takes one task from its creation to its end, durably.
type life func(id string) error

// open opens a database as goqite's and backlite's documentation does, on mattn/go-sqlite3 in WAL mode,
// but at FULL, so that all are durable: that driver is built with NORMAL as the default.
func open(b *testing.B, conns int) *sql.DB {
	db, err := sql.Open("sqlite3", filepath.Join(b.TempDir(), "peer.db")+"?_journal=WAL&_sync=FULL&_timeout=600000&_fk=true")
	require.NoError(b, err)
	b.Cleanup(func() { db.Close() })
	if conns > 0 {
		db.SetMaxOpenConns(conns)
		db.SetMaxIdleConns(conns)
	}
	return db
}

// ours creates a task, sets it to processing, and completes it with a result, by id.
func ours(b *testing.B) life {
	st, err := tasks.Open(b.Context(), filepath.Join(b.TempDir(), "tasks.db"))
	require.NoError(b, err)
	b.Cleanup(func() { st.Close() })
	ctx := context.Background()
	return func(id string) error {
		if err := st.Create(ctx, id, tasks.Document); err != nil {
			return err
		}
		if err := st.Update(ctx, id, tasks.Processing, nil); err != nil {
			return err
		}
		return st.Update(ctx, id, tasks.Completed, text)
	}
}

// goqiteLife sends a message, receives one, and deletes it. It keeps no result: there is nowhere to.
func goqiteLife(b *testing.B) life {
	db := open(b, 1) // as its documentation says
	ctx := context.Background()
	require.NoError(b, goqite.Setup(ctx, db))
	q := goqite.New(goqite.NewOpts{DB: db, Name: "tasks", Timeout: time.Minute})
	return func(id string) error {
		if err := q.Send(ctx, goqite.Message{Body: []byte(text)}); err != nil {
			return err
		}
		m, err := q.Receive(ctx)
		if err != nil {
			return err
		}
		if m == nil {
			return fmt.Errorf("no message for %s", id)
		}
		return q.Delete(ctx, m.ID)
	}
}

type job struct{ Text, ID string }

func (job) Config() backlite.QueueConfig {
	return backlite.QueueConfig{
		Name: "tasks", MaxAttempts: 1, Timeout: time.Minute,
		Retention: &backlite.Retention{Data: &backlite.RetainData{}},
	}
}

// backliteLife adds a task and waits until a worker has processed it. It keeps the task, and no result.
func backliteLife(b *testing.B) life {
	db := open(b, 0)
	var waiting sync.Map // of chan struct{}, by id
	client, err := backlite.NewClient(backlite.ClientConfig{DB: db, NumWorkers: 16, ReleaseAfter: time.Hour})
	require.NoError(b, err)
	require.NoError(b, client.Install())
	client.Register(backlite.NewQueue(func(_ context.Context, j job) error {
		if c, ok := waiting.Load(j.ID); ok {
			close(c.(chan struct{}))
		}
		return nil
	}))
	ctx, cancel := context.WithCancel(context.Background())
	client.Start(ctx)
	b.Cleanup(func() { client.Stop(context.Background()); cancel() })
	return func(id string) error {
		c := make(chan struct{})
		waiting.Store(id, c)
		if _, err := client.Add(job{text, id}).Save(); err != nil {
			return err
		}
		<-c
		return nil
	}
}

// run takes n tasks through their lives by so many callers, and returns tasks per second.
func run(b *testing.B, l life, callers, n int) float64 {
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range callers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := l(fmt.Sprintf("task-%08d", i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(n) / time.Since(start).Seconds()
}

// BenchmarkPeers runs package tasks and each peer in turn, three times,
// and reports the ratio of tasks per second: median, least and greatest.
func BenchmarkPeers(b *testing.B) {
	const pairs = 3
	for _, peer := range []struct {
		name string
		new  func(*testing.B) life
	}{{"goqite", goqiteLife}, {"backlite", backliteLife}} {
		for _, callers := range []int{1, 8, 64, 256} {
			b.Run(fmt.Sprintf("peer=%s/callers=%d", peer.name, callers), func(b *testing.B) {
				for b.Loop() {
					var ratios, speeds []float64
					for range pairs {
						theirs := run(b, peer.new(b), callers, 500)
						own := run(b, ours(b), callers, 500+50*min(callers, 100))
						ratios, speeds = append(ratios, own/theirs), append(speeds, theirs)
					}
					slices.Sort(ratios)
					slices.Sort(speeds)
					b.ReportMetric(ratios[pairs/2], "x-peer")
					b.ReportMetric(ratios[0], "min-x-peer")
					b.ReportMetric(ratios[pairs-1], "max-x-peer")
					b.ReportMetric(speeds[pairs/2], "peer-tasks/s")
				}
			})
		}
	}
}
