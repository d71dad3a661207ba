package peers

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"
)

// River's client is made for throughput and not for one caller who waits: it looks for new jobs at intervals,
// and its workers leave completing to a part that makes it in one transaction for all jobs of the last 50 ms
// if there are 100, else every 250 ms. So there are two peers.
//
//   - river: the three statements that the client is built on, made by the caller through River's driver:
//     a transaction each, as goqite. Nobody waits for a timer. Programs are not meant to use it like that,
//     but it is the least that River can take for a task.
//   - river-client: the client and its workers.

// openRiver opens a database with River's tables, with one connection, as its driver's documentation says.
func openRiver(b *testing.B) (*sql.DB, *riversqlite.Driver) {
	db := open(b, 1)
	driver := riversqlite.New(db)
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	_, err = m.Migrate(b.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(b, err)
	return db, driver
}

// checkRiver checks that so many jobs are completed, with their results, and closes the database.
func checkRiver(b *testing.B, db *sql.DB, n int) {
	defer db.Close()
	count(b, db, n, "SELECT count(*) FROM river_job WHERE state='completed' AND attempt=1 AND json_extract(metadata, '$.output')=?", text)
	count(b, db, n, "SELECT count(*) FROM river_job")
}

type riverArgs struct {
	ID string `json:"id"`
}

func (riverArgs) Kind() string { return "task" }

// riverDriver inserts a job, takes one, and completes it with an output, as the client does for RecordOutput.
func riverDriver(b *testing.B, _ int) peer {
	db, driver := openRiver(b)
	ctx := context.Background()
	exec := driver.GetExecutor()
	output, err := json.Marshal(map[string]string{rivertype.MetadataKeyOutput: text})
	require.NoError(b, err)
	return peer{
		life: func(id string) error {
			args, err := json.Marshal(riverArgs{id})
			if err != nil {
				return err
			}
			_, err = exec.JobInsertFastMany(ctx, &riverdriver.JobInsertFastManyParams{Jobs: []*riverdriver.JobInsertFastParams{{
				Args: riverArgs{id}, EncodedArgs: args, Kind: riverArgs{}.Kind(), MaxAttempts: river.MaxAttemptsDefault,
				Metadata: []byte("{}"), Priority: river.PriorityDefault, Queue: river.QueueDefault,
				State: rivertype.JobStateAvailable, Tags: []string{},
			}}})
			if err != nil {
				return err
			}
			got, err := exec.JobGetAvailable(ctx, &riverdriver.JobGetAvailableParams{
				ClientID: "bench", MaxAttemptedBy: 100, MaxToLock: 1, Queue: river.QueueDefault,
			})
			if err != nil {
				return err
			}
			if len(got.Jobs) != 1 {
				return fmt.Errorf("no job for %s", id)
			}
			done := riverdriver.JobSetStateCompleted(got.Jobs[0].ID, time.Now(), output)
			rows, err := exec.JobSetStateIfRunningMany(ctx, &riverdriver.JobSetStateIfRunningManyParams{
				ID: []int64{done.ID}, Attempt: []*int{nil}, ErrData: [][]byte{nil}, FinalizedAt: []*time.Time{done.FinalizedAt},
				MetadataDoMerge: []bool{done.MetadataDoMerge}, MetadataUpdates: [][]byte{done.MetadataUpdates},
				ScheduledAt: []*time.Time{nil}, State: []rivertype.JobState{done.State},
			})
			if err == nil && (len(rows) != 1 || rows[0].State != rivertype.JobStateCompleted) {
				err = fmt.Errorf("job %d is not completed", done.ID)
			}
			return err
		},
		rest:  func() {},
		check: func(n int) { checkRiver(b, db, n) },
	}
}

// riverWorker records a job's output.
type riverWorker struct {
	river.WorkerDefaults[riverArgs]
	db   *sql.DB // to complete it at once; nil leaves that to the client
	done func(id string)
}

func (w *riverWorker) Work(ctx context.Context, job *river.Job[riverArgs]) error {
	if err := river.RecordOutput(ctx, text); err != nil || w.db == nil {
		return err
	}
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := river.JobCompleteTx[*riversqlite.Driver](ctx, tx, job); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	w.done(job.Args.ID)
	return nil
}

// riverClient inserts a job and waits until a worker has completed it. The client looks for jobs as often as it can be told to.
// Up to 99 callers, workers complete jobs themselves, as one may, since a caller would wait up to 250 ms for the client to do it;
// with more, the client does it, for many jobs in one transaction, and its event says so. Each was the faster way there.
func riverClient(b *testing.B, callers int) peer {
	db, driver := openRiver(b)
	ctx := context.Background()
	var waiting sync.Map // of chan struct{}, by id
	worker := &riverWorker{done: func(id string) {
		if c, ok := waiting.LoadAndDelete(id); ok {
			close(c.(chan struct{}))
		}
	}}
	if callers < 100 {
		worker.db = db
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, worker)
	client, err := river.NewClient(driver, &river.Config{
		Logger:            slog.New(slog.DiscardHandler),
		PollOnly:          true, // the other way is to look for notifications every 50 ms
		FetchCooldown:     river.FetchCooldownMin,
		FetchPollInterval: river.FetchPollIntervalMin,
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: max(100, 2*callers)}},
		Workers:           workers,
	})
	require.NoError(b, err)
	events, stop := client.SubscribeConfig(&river.SubscribeConfig{Kinds: []river.EventKind{river.EventKindJobCompleted}, ChanSize: 100_000})
	go func() {
		for e := range events {
			var args riverArgs
			if err := json.Unmarshal(e.Job.EncodedArgs, &args); err != nil {
				b.Error(err)
			}
			worker.done(args.ID)
		}
	}()
	require.NoError(b, client.Start(ctx))
	return peer{
		life: func(id string) error {
			c := make(chan struct{})
			waiting.Store(id, c)
			if _, err := client.Insert(ctx, riverArgs{id}, nil); err != nil {
				return err
			}
			<-c
			return nil
		},
		rest: func() {},
		check: func(n int) {
			require.NoError(b, client.Stop(ctx))
			stop()
			checkRiver(b, db, n)
		},
	}
}
