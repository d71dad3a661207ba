package powercut

import (
	"fmt"
	"math/rand/v2"

	"github.com/docusnap/asyncvfs/internal/simdisk"
	"github.com/ncruces/go-sqlite3"
)

// The row that is written after a recovery.
const (
	followTxn = 1 << 40
	followRow = ids + 1
)

// follow recovers a database, writes to it, checkpoints and closes it,
// and checks the states that a power cut in the midst of that leaves.
// It returns how many it checked.
//
// Here no write spoils what is beside it: behind a commit that was recovered SQLite goes on in the same sector,
// so with psow=0 a second power cut may take with it what the first one left, however durable it was.
//
// A transaction that the first power cut left incomplete may become complete: the next one is written in its place,
// and what the second power cut leaves of that may be what was missing. Later says whether a finding is of that kind.
func follow(img simdisk.Image, db string, was finding, cfg simdisk.Config, r *rand.Rand, later func(finding) bool) (states int, err error) {
	cfg.Gate, cfg.Fault, cfg.SpaceLimit = nil, nil, 0
	cfg.Powersafe = true
	d := simdisk.NewDisk(img, cfg)
	defer d.Remove()
	vfsName := simdisk.Stock
	if r.IntN(2) == 0 {
		vfsName = simdisk.Async(0, 0)
	}
	mode := []string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"}[r.IntN(4)]
	c, err := sqlite3.Open("file:" + d.Path(db) + "?vfs=" + vfsName)
	if err != nil {
		return 0, fmt.Errorf("I6: %w", err)
	}
	defer c.Close()
	if f := look(c); f != was {
		return 0, fmt.Errorf("I6: found %+v, and then %+v", was, f)
	}
	for _, sql := range []string{
		"PRAGMA synchronous=full",
		fmt.Sprintf("BEGIN; INSERT INTO t VALUES(%d, 1, 'x'); UPDATE meta SET txn=%d; COMMIT", followRow, followTxn),
	} {
		if err := c.Exec(sql); err != nil {
			return 0, fmt.Errorf("I6: %s: %w", sql, err)
		}
	}
	acked, _ := d.Len()
	if err := c.Exec("PRAGMA wal_checkpoint(" + mode + ")"); err != nil {
		return 0, fmt.Errorf("I6: checkpoint: %w", err)
	}
	if err := c.Close(); err != nil {
		return 0, fmt.Errorf("I6: close: %w", err)
	}
	with := was
	with.txn = followTxn
	with.digest += hashRow(1, []byte("x")).at(followRow)
	if f := inspect(d, db); f != with {
		return 0, fmt.Errorf("I6: found %+v after a recovery, a commit, a checkpoint and a close on %s, want %+v", f, vfsName, with)
	}

	trace := d.Trace()
	crash := simdisk.NewCrash(img, cfg, trace)
	k := 0
	for range 4 {
		k += r.IntN(len(trace) + 1 - k)
		crash.Advance(k)
		choice := simdisk.Random + simdisk.Choice(r.Uint32())
		after := simdisk.NewDisk(crash.Image(choice), simdisk.Config{ShmDir: cfg.ShmDir, Powersafe: true, Quiet: true})
		f := inspect(after, db)
		after.Remove()
		states++
		before := f == was || f.err == nil && later(f)
		if f != with && (!before || k >= acked && was.mode == "wal") {
			return states, fmt.Errorf("I6: on %s, after another power cut after event %d of %d (commit returned at %d): found %+v, want %+v or, before that, %+v",
				vfsName, k, len(trace), acked, f, with, was)
		}
	}
	return states, nil
}
