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

// peer is a queue on a database of its own.
type peer struct {
	life  func(id string) error // takes one task from its creation to its end, durably
	rest  func()                // waits for what is left to do after that; it is part of the time
	check func(n int)           // checks that n tasks are in the database as they should be, and closes it
}

// open opens a database as the peers' documentation does, on mattn/go-sqlite3 in WAL mode,
// but at FULL, so that all are durable: that driver is built with NORMAL as the default.
func open(b *testing.B, conns int) *sql.DB {
	return openFile(b, filepath.Join(b.TempDir(), "peer.db"), conns)
}

func openFile(b *testing.B, path string, conns int) *sql.DB {
	db, err := sql.Open("sqlite3", path+"?_journal=WAL&_sync=FULL&_timeout=600000&_fk=true")
	require.NoError(b, err)
	if conns > 0 {
		db.SetMaxOpenConns(conns)
		db.SetMaxIdleConns(conns)
	}
	var mode string
	require.NoError(b, db.QueryRow("PRAGMA journal_mode").Scan(&mode))
	require.Equal(b, "wal", mode)
	count(b, db, 2, "SELECT synchronous FROM pragma_synchronous") // 2 is FULL
	return db
}

// count checks what a query counts.
func count(b *testing.B, db *sql.DB, n int, query string, args ...any) {
	b.Helper()
	var got int
	require.NoError(b, db.QueryRow(query, args...).Scan(&got))
	require.Equal(b, n, got, query)
}

// ours creates a task, sets it to processing, and completes it with a result, by id.
func ours(b *testing.B, _ int) peer {
	path := filepath.Join(b.TempDir(), "tasks.db")
	st, err := tasks.Open(b.Context(), path)
	require.NoError(b, err)
	ctx := context.Background()
	return peer{
		life: func(id string) error {
			if err := st.Create(ctx, id, tasks.Document); err != nil {
				return err
			}
			if err := st.Update(ctx, id, tasks.Processing, nil); err != nil {
				return err
			}
			return st.Update(ctx, id, tasks.Completed, text)
		},
		rest: func() {},
		check: func(n int) {
			require.NoError(b, st.Close())
			db := openFile(b, path, 1)
			defer db.Close()
			count(b, db, n, "SELECT count(*) FROM tasks WHERE status='completed' AND json_extract(result, '$')=?", text)
			count(b, db, n, "SELECT count(*) FROM tasks")
		},
	}
}

// goqiteQueue sends a message, receives one, and deletes it. Goqite itself has nowhere to keep a result:
// it goes into a table beside it, in the transaction that deletes the message.
func goqiteQueue(b *testing.B, _ int) peer {
	db := open(b, 1) // as its documentation says
	_, err := db.Exec(goqiteSchema(b, "sqlite"))
	require.NoError(b, err)
	_, err = db.Exec("CREATE TABLE results(id TEXT PRIMARY KEY, result TEXT NOT NULL)")
	require.NoError(b, err)
	q := goqite.New(goqite.NewOpts{DB: db, Name: "tasks", Timeout: time.Minute})
	return peer{
		life: goqiteLife(db, q, "INSERT INTO results VALUES(?, ?)", func(f func() error) error { return f() }),
		rest: func() {},
		check: func(n int) {
			defer db.Close()
			count(b, db, n, "SELECT count(*) FROM results WHERE result=?", text)
			count(b, db, 0, "SELECT count(*) FROM goqite")
		},
	}
}

type job struct{ Text, ID string }

func (job) Config() backlite.QueueConfig {
	return backlite.QueueConfig{
		Name: "tasks", MaxAttempts: 1, Timeout: time.Minute,
		Retention: &backlite.Retention{Data: &backlite.RetainData{}},
	}
}

// backliteQueue adds a task and waits until a worker has processed it. Backlite keeps the task, and no result:
// so the text is the task's, from the start. The worker can only tell before the task is set to completed:
// a caller goes on one commit too early, and at the end all wait for those commits.
// One connection and a worker for each task that can be there are much faster than the connections and the 10 workers of its example.
func backliteQueue(b *testing.B, callers int) peer {
	db := open(b, 1)
	var waiting sync.Map // of chan struct{}, by id
	client, err := backlite.NewClient(backlite.ClientConfig{DB: db, NumWorkers: max(16, 2*callers), ReleaseAfter: time.Hour})
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
	return peer{
		life: func(id string) error {
			c := make(chan struct{})
			waiting.Store(id, c)
			if _, err := client.Add(job{text, id}).Save(); err != nil {
				return err
			}
			<-c
			return nil
		},
		rest: func() { require.True(b, client.Stop(ctx)) },
		check: func(n int) {
			cancel()
			defer db.Close()
			count(b, db, n, "SELECT count(*) FROM backlite_tasks_completed WHERE succeeded AND json_extract(task, '$.Text')=?", text)
			count(b, db, 0, "SELECT count(*) FROM backlite_tasks")
		},
	}
}

// run takes n tasks through their lives by so many callers, and returns tasks per second.
func run(b *testing.B, p peer, callers, n int) float64 {
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range callers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := p.life(fmt.Sprintf("task-%08d", i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	p.rest()
	took := time.Since(start)
	p.check(n)
	return float64(n) / took.Seconds()
}

// BenchmarkPeers runs package tasks and each peer in turn, three times,
// and reports the ratio of tasks per second: median, least and greatest.
func BenchmarkPeers(b *testing.B) {
	const pairs = 3
	for _, peer := range []struct {
		name string
		new  func(*testing.B, int) peer
	}{{"goqite", goqiteQueue}, {"backlite", backliteQueue}, {"river", riverDriver}, {"river-client", riverClient}} {
		for _, callers := range []int{1, 8, 64, 256} {
			b.Run(fmt.Sprintf("peer=%s/callers=%d", peer.name, callers), func(b *testing.B) {
				for b.Loop() {
					var ratios, speeds []float64
					for range pairs {
						theirs := run(b, peer.new(b, callers), callers, 300+4*callers)
						own := run(b, ours(b, callers), callers, 500+50*min(callers, 100))
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
