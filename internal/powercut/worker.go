package powercut

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/internal/simdisk"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/ncruces/go-sqlite3"
)

// worker is a connection that goes through its steps.
type worker struct {
	workerPlan
	id      int
	run     *run
	conn    *sqlite3.Conn
	now     Level  // what synchronous is set to
	journal string // the journal mode that it uses while the database isn't in WAL mode
}

// schemas are the names that a connection has its databases by.
var schemas = [...]string{"main", "other"}

// work goes through the steps. The connection is closed at the end.
func (k *worker) work() {
	k.turn()
	for k.run.here < k.run.w.staying() {
		k.turn()
	}
	k.goThrough()
	k.run.arrive(k)
	if k.conn != nil {
		k.close()
	}
	k.run.ended++
}

// stay goes through the steps of a worker that has the database open before all others and while they close it,
// and while it is opened anew after a fault.
func (k *worker) stay() {
	k.turn()
	opened := k.open()
	k.run.here++
	if opened {
		half := len(k.steps) / 2
		k.goOn(k.steps[:half])
		for k.run.w.plan.Fault != "" && !k.run.repaired {
			time.Sleep(time.Millisecond)
			k.turn()
		}
		k.goOn(k.steps[half:])
		k.run.arrive(k)
	}
	if k.conn != nil {
		k.close()
	}
	k.run.staying--
}

// survivor is what is done once all others have closed their connections, after a fault.
func survivor(r *rand.Rand) workerPlan {
	txn := step{kind: stepTxn, seed: r.Uint64(), txn: txnStep{changes: 2, size: 100}}
	again := txn
	again.seed++
	steps := []step{txn, {kind: stepWait}, {kind: stepCheckpoint, arg: []string{"PASSIVE", "TRUNCATE"}[r.IntN(2)]}, again}
	r.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	return workerPlan{level: Full, maxDelay: time.Second, maxPending: 1 << 20, steps: steps}
}

// survive opens the database anew, with the fault gone, and goes through its steps.
func (k *worker) survive() {
	for k.run.ended < k.run.w.leaving() {
		time.Sleep(time.Millisecond)
		k.turn()
	}
	k.run.fault.EndFirst()
	k.run.disk.Mend()
	for k.run.disk.Failing() {
		k.turn()
	}
	if k.run.fault.More() {
		// What comes next may hit it as it opens the database, and then it does so once more.
		k.goThrough()
		if k.conn != nil {
			k.close()
		}
		k.run.fault.End()
		for k.run.disk.Failing() {
			k.turn()
		}
	}
	k.run.healthy = true
	k.goThrough()
	k.run.repaired = true
	for k.run.staying > 0 {
		time.Sleep(time.Millisecond)
		k.turn()
	}
	if k.conn != nil {
		k.close()
	}
}

// here is what this process has to do with the database.
func (k *worker) here(h *history) *process { return &h.processes[k.process] }

// turn waits for the worker's turn. Several may come back at once from a wait that a sync has ended:
// what they share they touch only after it.
func (k *worker) turn() { k.run.lock.Step(k.id) }

func (k *worker) goThrough() {
	if k.open() {
		k.goOn(k.steps)
	}
}

func (k *worker) goOn(steps []step) {
	for _, s := range steps {
		k.turn()
		for k.stock && k.run.disk.Told() && !k.run.repaired {
			// An application goes on at its own risk once it was told that the WAL can't be made durable.
			time.Sleep(time.Millisecond)
			k.turn()
		}
		if k.conn == nil && !k.open() {
			return
		}
		k.step(s)
		if !k.conn.GetAutocommit() {
			k.exec("ROLLBACK")
		}
	}
}

func (k *worker) vfsName() string {
	if k.stock {
		return simdisk.Stock
	}
	return simdisk.Async(k.run.disabled, k.process)
}

func (k *worker) uri(db string) string {
	return fmt.Sprintf("file:%s?vfs=%s&max_delay=%s&max_pending=%d&psow=%t&checkpoint=%s",
		k.path(db), k.vfsName(), k.maxDelay, k.maxPending, k.run.w.powersafe, k.checkpoint)
}

// path is where its process finds a database.
func (k *worker) path(db string) string {
	if k.stock || k.process == 0 {
		return k.run.disk.Path(db)
	}
	return k.run.disk.PathIn(k.process, db)
}

// open opens the connection. It reports whether it could.
func (k *worker) open() bool {
	w := k.run.w
	conn, err := sqlite3.Open(k.uri("a.db"))
	k.turn()
	if err != nil {
		k.failed("open", err)
		return false
	}
	k.conn = conn
	k.journal = "delete"
	k.run.opened(k, +1)
	autockpt := w.autockpt
	if k.noAuto {
		autockpt = 0
	}
	for _, err := range []error{
		conn.BusyHandler(func(_ context.Context, count int) bool {
			time.Sleep(50 * time.Microsecond)
			k.turn()
			return count < 300
		}),
		conn.Exec(fmt.Sprintf("PRAGMA cache_size=%d; PRAGMA cache_spill=%d; PRAGMA wal_autocheckpoint=%d",
			w.cache, min(w.cache, 200), autockpt)),
		conn.Exec(fmt.Sprintf("PRAGMA journal_size_limit=%d", w.sizeLimit)),
	} {
		if err != nil {
			k.failed("open", err)
		}
	}
	if w.exclusive {
		k.exec("PRAGMA locking_mode=exclusive")
	}
	if w.fresh && !k.create() {
		return false
	}
	if w.second && !k.exec("ATTACH '"+k.uri("b.db")+"' AS other") {
		return false
	}
	k.setLevel(k.level)
	return true
}

// create makes the tables where the database is new.
func (k *worker) create() bool {
	w := k.run.w
	if n, err := k.ints("SELECT count(*) FROM sqlite_schema"); err == nil && n[0] > 0 {
		return true
	}
	err := k.conn.Exec(fmt.Sprintf("PRAGMA page_size=%d; PRAGMA journal_mode=wal; PRAGMA synchronous=full; ", w.pageSize) + tables)
	k.turn()
	if err != nil {
		k.failed("create", err)
		return false
	}
	h := k.run.of("a.db")
	h.startWith(h.txns[0])
	at, _ := k.run.disk.Mark("created")
	h.promise(at, h.head, "creation of the tables returned")
	return true
}

// close closes the connection.
func (k *worker) close() {
	failures := k.run.disk.FailedSyncs()
	err := k.conn.Close()
	k.turn()
	if err != nil {
		k.failed("close", err)
		return
	}
	k.conn = nil
	k.run.opened(k, -1)
	if k.stock || failures != k.run.disk.FailedSyncs() {
		return
	}
	at, _ := k.run.disk.Mark("closed")
	for _, h := range k.run.attached() {
		if ours := k.here(h).ours; k.here(h).open == 0 && ours.mode == "wal" && h.head.mode == "wal" && k.run.disk.FailedSyncs() == 0 {
			h.promise(at, ours, "last close returned")
		}
	}
}

func (k *worker) setLevel(l Level) {
	if k.stock && l == Off {
		l = Normal // another process at OFF may corrupt, says SQLite
	}
	k.now = l
	for _, schema := range schemas[:len(k.run.attached())] {
		if !k.exec(fmt.Sprintf("PRAGMA %s.synchronous=%s", schema, l)) {
			k.now = Off // whatever it is: nothing is promised
		}
	}
}

// exec runs a statement. It reports whether it worked.
func (k *worker) exec(sql string) bool {
	err := k.conn.Exec(sql)
	k.turn()
	if err != nil {
		k.failed(sql, err)
	}
	return err == nil
}

// failed takes note of an error: one that nothing explains is a violation.
func (k *worker) failed(what string, err error) {
	if errors.Is(err, sqlite3.BUSY) || errors.Is(err, sqlite3.LOCKED) {
		return
	}
	if k.stays && k.run.fault.Explains(err) {
		return // a handle from before the fault is told of it whenever it comes to sync
	}
	k.run.failed(fmt.Sprintf("worker %d: %s: %v (logged last: %v)", k.id, what, err, &simdisk.Logged), err)
}

// ints returns the first row of a query.
func (k *worker) ints(sql string) (row []int64, err error) {
	defer k.turn()
	s, _, err := k.conn.Prepare(sql)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if s.Step() {
		for i := range s.ColumnCount() {
			row = append(row, s.ColumnInt64(i))
		}
	}
	return row, s.Err()
}

func (k *worker) text(sql string) (string, error) {
	defer k.turn()
	return text(k.conn, sql)
}

func (k *worker) step(s step) {
	r := rand.New(rand.NewPCG(s.seed, 2))
	switch s.kind {
	case stepTxn:
		k.transaction(s.txn, r)
	case stepCheckpoint:
		k.exec("PRAGMA wal_checkpoint(" + s.arg + ")")
	case stepRead:
		k.read(s.arg)
	case stepVacuum:
		k.exec("VACUUM")
	case stepIncremental:
		k.exec("PRAGMA incremental_vacuum(3)")
	case stepJournalMode:
		k.setJournal(s.arg)
	case stepReopen:
		if !k.stock || !k.run.w.lastIsOurs {
			k.close()
			if k.conn == nil {
				k.open()
			}
		}
	case stepWait:
		k.wait()
	case stepLevel:
		k.setLevel(Level(s.arg))
	case stepMode:
		k.setMode(s.arg)
	case stepPause:
		d, _ := time.ParseDuration(s.arg)
		time.Sleep(d)
	}
}

// read holds a read transaction for a while, in which nothing may change.
func (k *worker) read(steps string) {
	if !k.exec("BEGIN; SELECT * FROM meta") {
		return
	}
	const sum = "SELECT txn, (SELECT count(*) FROM t), (SELECT total(k) FROM t) FROM meta"
	before, err := k.ints(sum)
	if err != nil {
		k.failed("read", err)
		return
	}
	n, _ := strconv.Atoi(steps)
	for range n {
		k.turn()
	}
	after, err := k.ints(sum)
	if err != nil {
		k.failed("read", err)
	} else if fmt.Sprint(before) != fmt.Sprint(after) {
		k.run.violation(fmt.Sprintf("worker %d: a read transaction saw %v, and then %v", k.id, before, after))
	}
	k.exec("COMMIT")
}

func (k *worker) setJournal(mode string) {
	h := k.run.of("a.db")
	at, _ := k.run.disk.Len()
	if mode == "memory" || k.journal == "memory" {
		defer k.unsafe(h, at)()
	}
	i := len(h.switches) // others may add to them meanwhile
	h.switches = append(h.switches, modeSwitch{fileMode(mode), at, forever})
	got, err := k.text("PRAGMA journal_mode=" + mode)
	if err != nil {
		k.failed("journal_mode", err)
		return
	}
	if fileMode(got) == fileMode(mode) {
		h.switches[i].to, _ = k.run.disk.Len()
	} else {
		h.switches[i].to = at // another connection has it open
	}
	if got != "wal" {
		k.journal = got
		// Up to 3.53 at least, SQLite keeps pages in its cache that others have changed in WAL mode
		// since it last looked, if they didn't change the first page.
		k.exec("PRAGMA shrink_memory")
	}
}

// fileMode is a journal mode as another connection sees it: which one with a rollback journal isn't in the file.
func fileMode(mode string) string {
	if mode == "wal" {
		return mode
	}
	return "delete"
}

// wait makes all commits so far durable.
func (k *worker) wait() {
	if k.stock {
		return
	}
	for i, h := range k.run.attached() {
		before := h.head
		ok, err := k.text("PRAGMA " + schemas[i] + ".async_wait")
		if err != nil && strings.Contains(err.Error(), vfs.ErrWALNotOpen.Error()) && k.run.w.plan.Fault != "" {
			continue // it says so, and nothing is promised
		}
		if err != nil || ok != "ok" {
			k.failed("async_wait", err)
			continue
		}
		if before.mode == "wal" {
			at, _ := k.run.disk.Mark("async_wait")
			h.promise(at, before, "async_wait returned")
		}
	}
}

func (k *worker) setMode(mode string) {
	if k.stock {
		return
	}
	for i, h := range k.run.attached() {
		here := k.here(h)
		here.sync = false
		here.modes++
		nth, ours := here.modes, here.ours
		_, err := k.text("PRAGMA " + schemas[i] + ".async_mode=" + mode)
		if err != nil {
			k.failed("async_mode", err)
			continue
		}
		if mode == vfs.Sync.String() {
			here.sync = here.modes == nth // unless another connection has said otherwise
			at, _ := k.run.disk.Mark("async_mode=sync")
			if ours.mode == "wal" {
				h.promise(at, ours, "async_mode=sync returned")
			}
		}
	}
}
