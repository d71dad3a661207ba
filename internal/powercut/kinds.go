package powercut

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/docusnap/asyncvfs/internal/simdisk"
)

// neighbours sets the last of the workers apart, which belongs to another process that stays across failures.
// All restart the WAL and hold up each other's checkpoints, which take long.
func (w *workload) neighbours(r *rand.Rand, p *weights) *workerPlan {
	if w.workers == nil {
		w.workers = make([]workerPlan, 2+r.IntN(3))
	}
	w.steps = 12
	w.autockpt = []int{1, 4, 8, 1000}[r.IntN(4)]
	w.dbSyncTime = []time.Duration{w.syncTime, 5 * w.syncTime, 20 * w.syncTime}[r.IntN(3)]
	p.levels = []Level{Normal, Full, Full}
	w.pageSize = 512 << r.IntN(2)
	p.size = 900 // so that each transaction changes other pages
	p.changes = 3
	p.pause = w.syncTime / 10
	p.of[stepCheckpoint] = 8
	p.of[stepRead] = 6
	p.of[stepWait] = 3
	p.of[stepPause] = 6
	p.of[stepReopen] = 0
	k := &w.workers[len(w.workers)-1]
	k.stays = true
	// After a failed sync it isn't known what the other process has made durable, and that is written once more.
	w.linear = w.plan.Fault != ""
	return k
}

// onStock puts a worker on the stock VFS.
func (w *workload) onStock(k *workerPlan) {
	k.stock = true
	w.lastIsOurs = true
	w.ordered = true // where we fail to make a new WAL's entry durable, it doesn't try to
}

// other puts a worker on the stock VFS, or in another process on this project's.
func (w *workload) other(k *workerPlan, r *rand.Rand) {
	if r.IntN(4) == 0 {
		k.process = 1
	} else {
		w.onStock(k)
	}
}

// kinds are the workloads. Each sets what is particular to it.
var kinds = map[string]func(*workload, *rand.Rand, *weights){
	// One connection, small transactions.
	"single": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 1)
		w.steps = 12
		w.exclusive = r.IntN(4) == 0
	},
	// Connections at FULL share syncs.
	"group": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 2+r.IntN(7))
		p.levels = []Level{Full, Full, Full, Extra}
		w.steps = 5
	},
	// Everything at once.
	"mixed": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 1+r.IntN(8))
		w.steps = 4 + r.IntN(12)
		p.of[stepVacuum] = 1
	},
	// Transactions that don't fit the page cache, so that frames are written before the commit.
	"spill": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 1+r.IntN(2))
		w.cache = 2 + r.IntN(4)
		w.pageSize = 512 << r.IntN(2)
		w.steps = 5
		p.changes = 60
		p.size = 900
	},
	// One connection does nothing but checkpoints, which take long, while others commit at FULL.
	"checkpoint": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 3+r.IntN(2))
		w.checkpointer = true
		p.levels = []Level{Full}
		p.size = 50
		p.changes = 1
		w.steps = 16
		w.autockpt = 0
		w.slow = simdisk.Truncate
		p.of[stepPause] = 20
		p.pause = w.syncTime / 20
		w.dbSyncTime = []time.Duration{w.syncTime / 10, w.syncTime / 10, 5 * w.syncTime}[r.IntN(3)]
		p.of[stepCheckpoint] = 0
	},
	// Checkpoints in the background while everything goes on: commits wait for some of them, connections come and go.
	"background": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 1+r.IntN(6))
		w.steps = 24
		w.autockpt = 2 + r.IntN(8)
		p.size = 2000
		p.changes = 2
		p.of[stepReopen] = 2
		p.of[stepRead] = 3
	},
	// The WAL restarts all the time.
	"restart": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 1+r.IntN(3))
		w.steps = 14
		w.autockpt = 1 + r.IntN(6)
		w.sizeLimit = []int{-1, 0, 1 << 12, 1 << 14}[r.IntN(4)]
		p.of[stepCheckpoint] = 6
	},
	"vacuum": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 1+r.IntN(2))
		w.steps = 8
		w.autoVacuum = r.IntN(2) == 0
		p.of[stepVacuum] = 3
		p.of[stepIncremental] = 3
	},
	// journal_mode back and forth.
	"journal": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 1+r.IntN(2))
		w.steps = 10
		p.levels = []Level{Full, Extra}
		p.of[stepLevel] = 0
		p.of[stepJournalMode] = 5
		// At FULL SQLite doesn't make the removal of a journal durable, which may come back
		// and undo what was committed since without one.
		if p.memory = r.IntN(4) > 0; p.memory {
			p.levels = []Level{Extra}
		}
	},
	// Transactions over two databases.
	"attach": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 1+r.IntN(3))
		w.second = true
		w.steps = 7
	},
	// Connections come and go, and the last one closes.
	"reopen": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 1+r.IntN(3))
		w.steps = 9
		p.of[stepReopen] = 6
	},
	// The database doesn't exist before.
	"fresh": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 1)
		w.fresh = true
		w.steps = 6
		p.of[stepReopen] = 2
	},
	// Another process on the stock VFS writes and checkpoints in between.
	"stock": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 2+r.IntN(3))
		w.workers[1].stock = true
		w.steps = 8
		w.autockpt = []int{2, 8, 1000}[r.IntN(3)]
		w.lastIsOurs = !w.ordered
		p.of[stepCheckpoint] = 8
		p.of[stepWait] = 4
	},
	// Two processes on this project's VFS.
	"processes": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 2+r.IntN(5))
		for i := range w.workers {
			w.workers[i].process = i % processes
		}
		w.steps = 9
		w.autockpt = []int{2, 8, 1000}[r.IntN(3)]
		p.of[stepReopen] = 3
	},
	// Another process on the stock VFS stays open while ours fails, closes and opens anew.
	"neighbour": func(w *workload, r *rand.Rand, p *weights) {
		w.onStock(w.neighbours(r, p))
	},
	// So does one on this project's VFS.
	"peer": func(w *workload, r *rand.Rand, p *weights) {
		w.neighbours(r, p).process = 1
	},
	// After a failed sync ours ends, and another process on this project's VFS opens the database.
	"successor": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 1+r.IntN(3))
		w.steps = 10
		w.autockpt = []int{4, 8, 1000}[r.IntN(3)]
		w.successor = true
		w.linear = w.plan.Fault != ""
		p.levels = []Level{Normal, Full, Full}
		p.of[stepReopen] = 0
	},
	// The other process restarts the WAL that ours goes on to sync.
	"restarted": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 2)
		k := w.neighbours(r, p)
		k.of = map[stepKind]int{stepTxn: 12, stepCheckpoint: 12, stepPause: 4}
		k.modes = []string{"RESTART", "TRUNCATE"}
		k.levels = []Level{Normal}
		p.of = map[stepKind]int{stepTxn: 8, stepWait: 10, stepPause: 6, stepRead: 2}
		w.steps = 16
		w.autockpt = 1000
		w.other(k, r)
	},
	// Readers let one of the processes bring over a part of the WAL, and the other one the rest.
	"partial": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 3+r.IntN(2))
		k := w.neighbours(r, p)
		k.of = map[stepKind]int{stepTxn: 8, stepCheckpoint: 10, stepPause: 2}
		p.of = map[stepKind]int{stepTxn: 10, stepRead: 12, stepCheckpoint: 6, stepPause: 2}
		k.modes, p.modes = []string{"PASSIVE"}, []string{"RESTART", "TRUNCATE", "FULL"}
		w.autockpt = 1000
		if r.IntN(3) > 0 {
			k.modes, p.modes = p.modes, k.modes
			k.noAuto, w.inline, w.autockpt = true, true, 1+r.IntN(4)
		}
		w.steps = 16
		w.other(k, r)
	},
	// A write may spoil the rest of its sector.
	"psow": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 1+r.IntN(3))
		w.powersafe = false
		w.sector = 512 << r.IntN(4)
		w.steps = 8
		// Only at FULL does SQLite keep a commit's frames out of the sectors of the next one's.
		p.levels = []Level{Full, Extra}
	},
	// At NORMAL, with time between the commits: the window.
	"window": func(w *workload, r *rand.Rand, p *weights) {
		w.workers = make([]workerPlan, 1+r.IntN(3))
		p.levels = []Level{Normal, Normal, Normal, Off}
		w.steps = 16
		p.of[stepPause] = 8
		p.of[stepLevel] = 0
		p.of[stepWait] = 0
		p.of[stepCheckpoint] = 1
	},
}

// Kinds returns the kinds of workloads.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// weights are how often things come in a workload.
type weights struct {
	of      map[stepKind]int
	modes   []string // of checkpoints
	levels  []Level
	changes int
	size    int
	pause   time.Duration // up to 80 of it
	memory  bool          // journal_mode=memory
}
