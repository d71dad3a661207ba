package taskcut

import (
	"strings"
	"testing"

	"github.com/docusnap/asyncvfs/internal/simdisk"
	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// TestCallsAreHeld: each kind of call comes up in the workloads, and the oracle holds what a power cut leaves against it.
func TestCallsAreHeld(t *testing.T) {
	if slow {
		t.Skip("it takes minutes")
	}
	dir := t.TempDir()
	missing := map[string]bool{
		"create": true, "update": true, "retry": true, "cancel": true, "delete": true, "claim": true, "complete": true, "fail": true,
		"step": true, "step that is kept": true, "report": true, "report, durable": true, "progress": true, "progress, durable": true,
		"end": true, "set": true, "pause": true, "resume": true, "retry many": true, "retry many, durable": true,
		"transaction with a report": true,
	}
	for n := 0; len(missing) > 0; n++ {
		require.Less(t, n, 300, "missing: %v", missing)
		p := Plan{Kind: []string{"handlers", "mixed", "callers", "workers"}[n%4], Seed: uint64(n)}
		x, err := runPlan(t, p, 0, dir)
		require.NoError(t, err)
		require.Empty(t, x.violations)
		o, err := newOracle(x, "", "")
		require.NoError(t, err)
		for _, c := range x.calls {
			op, _, _ := strings.Cut(c.what, " ")
			if op == "step" && c.reads && c.required > 0 {
				op = "step that is kept"
			}
			if c.what == "retry many" {
				op = c.what
			}
			if op == "transaction" && c.advance != (tasks.Advance{}) {
				op = "transaction with a report"
			}
			if c.required > 0 && (c.durable || c.reads) && (op == "report" || op == "progress" || op == "retry many") {
				op += ", durable"
			}
			if c.required > 0 {
				delete(missing, op)
			}
		}
		require.NotEmpty(t, o.live)
	}
}

// TestCallsReturnEarly: a call of each kind that returns before it is durable is found, by its own promise.
func TestCallsReturnEarly(t *testing.T) {
	if slow {
		t.Skip("it takes minutes")
	}
	for what, kinds := range map[string][]string{
		"set limits": {"handlers"}, "pause": {"handlers"}, "resume": {"handlers"}, "end of": {"handlers"},
		"retry many": {"handlers"}, "report on": {"handlers"}, "progress of": {"handlers"}, "transaction": {"checkpoint"},
	} {
		t.Run(what, func(t *testing.T) {
			m := &Machine{ShmDir: t.TempDir(), Depth: Depth{Points: 100, Choices: 1}, Control: Early, Only: what}
			for n := range 60 {
				err := m.Run(t, Plan{Kind: kinds[n%len(kinds)], Seed: uint64(n)})
				if err != nil {
					require.ErrorContains(t, err, "I2: "+what)
					require.ErrorContains(t, err, "had returned, and isn't there")
					return
				}
			}
			t.Error("not caught: ", m.Counts)
		})
	}
}

// TestRelaxedCallsInTime: a relaxed call that stays lost for longer than it may is found.
func TestRelaxedCallsInTime(t *testing.T) {
	if slow {
		t.Skip("it takes minutes")
	}
	for _, what := range []string{"step", "report on", "progress of", "retry many"} {
		t.Run(what, func(t *testing.T) {
			m := &Machine{ShmDir: t.TempDir(), Depth: Depth{Points: 100, Choices: 1}, Control: Late, Only: what}
			for n := range 60 {
				err := m.Run(t, Plan{Kind: "handlers", Seed: uint64(n)})
				if err != nil {
					require.ErrorContains(t, err, "I4: "+what)
					return
				}
			}
			t.Error("not caught: ", m.Counts)
		})
	}
}

// TestRowsAreHeld: what must not be in the tables is found there.
func TestRowsAreHeld(t *testing.T) {
	const form = string(tasks.Form)
	x := &run{steps: map[stepRow]bool{{stepKey{"f-1", "ocr"}, `"text"`}: true}}
	a := tasks.Advance{Done: 1, Total: 2, Note: "note"}
	calls := []*call{
		{subject: "f-1", asks: asks(tasks.Pending, tasks.Processing, tasks.Error), partial: `"part"`, advance: a, result: `"whole"`},
		{subject: "d-1", asks: asks(tasks.Processing), advance: a},
	}
	state := func() *rows {
		return &rows{
			tasks: map[string]taskRow{
				"f-1": {typ: form, status: "error", cancelled: true, result: `"part"`, hasResult: true, advance: a},
				"d-1": {typ: "document", status: "processing", advance: a},
			},
			steps:  map[stepKey]string{{"f-1", "ocr"}: `"text"`},
			docs:   map[string]docRow{"d-1": {"processing", "note"}},
			limits: map[tasks.Type]tasks.TypeLimits{},
		}
	}
	change := func(r *rows, id string, f func(*taskRow)) {
		row := r.tasks[id]
		f(&row)
		r.tasks[id] = row
	}
	require.NoError(t, x.checkRows(state(), calls))
	for says, spoil := range map[string]func(*rows){
		"is at":                           func(r *rows) { change(r, "f-1", func(t *taskRow) { t.advance.Total = 3 }) },
		"with the result":                 func(r *rows) { change(r, "f-1", func(t *taskRow) { t.result = `"whole"` }) },
		"which nothing computed":          func(r *rows) { r.steps[stepKey{"f-1", "ocr"}] = `"other"` },
		"step llm of task f-1":            func(r *rows) { r.steps[stepKey{"f-1", "llm"}] = `"text"` },
		"step ocr of task f-2":            func(r *rows) { r.steps[stepKey{"f-2", "ocr"}] = `"text"` },
		"the application's document of d": func(r *rows) { r.docs["d-1"] = docRow{"processing", ""} },
	} {
		r := state()
		spoil(r)
		require.ErrorContains(t, x.checkRows(r, calls), says)
	}

	step := func(before, now *rows, calls ...*call) error { return checkStep(before, now, calls, 10) }
	retried := state()
	change(retried, "f-1", func(t *taskRow) { t.status, t.cancelled = "pending", false })
	many := &call{types: []tasks.Type{tasks.Form}, undoes: true, cancelled: true, acked: 20}
	require.NoError(t, step(state(), retried, many))
	require.ErrorContains(t, step(state(), retried), "was cancelled")
	require.ErrorContains(t, step(state(), retried, &call{types: many.types, undoes: true, acked: 20}), "was cancelled")
	require.ErrorContains(t, step(state(), retried, &call{types: many.types, undoes: true, cancelled: true, acked: 9}), "was cancelled")

	handedOut := state()
	change(handedOut, "f-1", func(t *taskRow) { t.lease = "new" })
	require.NoError(t, step(state(), handedOut))
	for _, l := range []tasks.TypeLimits{{Paused: true}, {Running: 1}} {
		handedOut.limits[tasks.Form] = l
		if !l.Paused {
			require.NoError(t, step(state(), handedOut))
		}
		handedOut.tasks["f-2"] = taskRow{typ: form, lease: "other"}
		require.ErrorContains(t, step(state(), handedOut), "I8")
		require.NoError(t, step(state(), handedOut, &call{subject: limitsSubject, acked: 10}))
		delete(handedOut.tasks, "f-2")
	}
}

// TestLostRowsAreFound: without a row of a step or a limit, the tables are those after no commit.
func TestLostRowsAreFound(t *testing.T) {
	dir := t.TempDir()
	for table, of := range map[string]func(*rows) int{
		"task_steps": func(r *rows) int { return len(r.steps) },
		"task_types": func(r *rows) int { return len(r.limits) },
	} {
		found := false
		for n := 0; !found; n++ {
			require.Less(t, n, 60)
			x, err := runPlan(t, Plan{Kind: "handlers", Seed: uint64(n)}, 0, dir)
			require.NoError(t, err)
			o, err := newOracle(x, "", "")
			require.NoError(t, err)
			o.advance(len(x.trace))
			crash := simdisk.NewCrash(x.image, x.cfg, x.trace)
			for i, l := range o.live {
				if of(l.rows) == 0 || i+1 < len(o.live) && of(o.live[i+1].rows) > 0 {
					continue
				}
				crash.Advance(l.at)
				found = true
				img := crash.Image(simdisk.All)
				_, err := o.check(inspect(img, dir, false))
				if err != nil {
					require.NotContains(t, err.Error(), "I3")
				}
				_, err = o.check(inspect(emptied(t, img, dir, table), dir, false))
				require.ErrorContains(t, err, "I3")
				break
			}
		}
	}
}

// emptied returns an image in which a table is empty.
func emptied(t *testing.T, img simdisk.Image, dir, table string) simdisk.Image {
	t.Helper()
	d := simdisk.NewDisk(img, simdisk.Config{ShmDir: dir, Powersafe: true, Quiet: true})
	defer d.Remove()
	c, err := sqlite3.Open("file:" + d.Path(dbName) + "?vfs=" + simdisk.Stock)
	require.NoError(t, err)
	require.NoError(t, c.Exec("DELETE FROM "+table))
	require.NoError(t, c.Close())
	return d.Image()
}
