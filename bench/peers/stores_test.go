package peers

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/docusnap/asyncvfs/bench"
	"go.etcd.io/bbolt"
)

// store is a key-value store that each caller adds to durably.
type store struct {
	add   func(key, value []byte) error
	count func() (int, error)
	close func() error
}

// stores open stores in a folder.
var stores = map[string]func(dir string, callers int) (store, error){"bbolt": openBolt, "pebble": openPebble}

var bucket = []byte("t")

// openBolt opens bbolt with its defaults, but a batch begins as soon as all callers wait for it, and not up to 10 ms later.
// One caller alone uses Update, since there is nothing to put together.
func openBolt(dir string, callers int) (store, error) {
	db, err := bbolt.Open(filepath.Join(dir, "bench.bolt"), 0o600, nil)
	if err != nil {
		return store{}, err
	}
	db.MaxBatchSize = callers
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(bucket)
		return err
	})
	if err != nil {
		return store{}, errors.Join(err, db.Close())
	}
	change := db.Batch
	if callers == 1 {
		change = db.Update
	}
	return store{
		add: func(key, value []byte) error {
			return change(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, value) })
		},
		count: func() (n int, err error) {
			err = db.View(func(tx *bbolt.Tx) error {
				n = tx.Bucket(bucket).Stats().KeyN
				return nil
			})
			return n, err
		},
		close: db.Close,
	}, nil
}

// silent keeps to itself what pebble tells of its work.
type silent struct{}

func (silent) Infof(string, ...any)      {}
func (silent) Errorf(f string, a ...any) { fmt.Fprintf(os.Stderr, f+"\n", a...) }
func (silent) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

func keyOf(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// valueOf returns data that can't be compressed.
func valueOf(size int, n uint64) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(1, n))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// openPebble opens pebble with its defaults; each commit is synced.
func openPebble(dir string, _ int) (store, error) {
	db, err := pebble.Open(dir, &pebble.Options{Logger: silent{}})
	if err != nil {
		return store{}, err
	}
	return store{
		add: func(key, value []byte) error { return db.Set(key, value, pebble.Sync) },
		count: func() (n int, err error) {
			it, err := db.NewIter(nil)
			if err != nil {
				return 0, err
			}
			for ok := it.First(); ok; ok = it.Next() {
				n++
			}
			return n, it.Close()
		},
		close: db.Close,
	}, nil
}

// runStore adds values under ascending keys, as rows are added to the table.
func runStore(ctx context.Context, job bench.Job, open func(string, int) (store, error)) (r bench.Result, err error) {
	w := job.Workload
	if w.Kind != bench.Insert || w.Rows != 1 || job.Level != "full" {
		return r, fmt.Errorf("stores only do durable inserts, not %s at %s", w, job.Level)
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	st, err := open(dir, w.Conns)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	var next, done atomic.Uint64
	calls := make([]bench.Call, w.Conns)
	for i := range calls {
		value := valueOf(w.Size, uint64(i))
		calls[i] = func() (bool, error) {
			value[0]++
			err := st.add(keyOf(next.Add(1)), value)
			if err == nil {
				done.Add(1)
			}
			return false, err
		}
	}
	job.Timing.Generations = 0 // there is no WAL of SQLite's
	if r, err = bench.Measure(ctx, calls, job.Timing, ""); err != nil {
		return r, err
	}
	n, err := st.count()
	if err == nil && uint64(n) != done.Load() {
		err = fmt.Errorf("there are %d keys, not %d", n, done.Load())
	}
	return r, err
}

// BenchmarkStores makes durable inserts through this VFS and into key-value stores.
func BenchmarkStores(b *testing.B) {
	for _, callers := range []int{1, 8, 64, 256} {
		w := bench.Workload{Kind: bench.Insert, Rows: 1, Size: 100, Conns: callers}
		b.Run(w.String()+"/level=full", func(b *testing.B) { compare(b, w, "full", []string{"bbolt", "pebble"}) })
	}
}

// BenchmarkFdatasync tells what a sync of 4 KiB costs here.
func BenchmarkFdatasync(b *testing.B) {
	for b.Loop() {
		if err := bench.ReportSyncs(b, b.TempDir()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(0, "ns/op")
}

func storeVersions() string {
	return fmt.Sprintf("bbolt: %s\npebble: %s\n", bench.ModuleVersion(bbolt.Open), bench.ModuleVersion(pebble.Open))
}
