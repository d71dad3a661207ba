package taskcut

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// limits sets what holds for the type that workers claim.
func (k *caller) limits(s step, r *rand.Rand) {
	const typ = tasks.Form
	if r.IntN(2) == 0 {
		l := tasks.TypeLimits{Paused: r.IntN(8) == 0, Running: []int{0, 1, 2, 3}[r.IntN(4)]}
		if r.IntN(2) == 0 {
			l.PerSecond = []float64{2, 10, 1000}[r.IntN(3)] + float64(s.n)/1024 // which nobody else sets
		}
		k.call(call{what: fmt.Sprintf("set limits %+v", l), subject: limitsSubject, durable: true, effect: hasLimits(l)},
			func(*call) error { return k.store.SetLimits(background, typ, l) })
		return
	}
	k.call(call{what: "pause", subject: limitsSubject, durable: true, effect: isPaused(true)},
		func(*call) error { return k.store.Pause(background, typ) })
	time.Sleep(time.Duration(r.Int64N(int64(4 * k.run.w.syncTime))))
	k.turn()
	k.call(call{what: "resume", subject: limitsSubject, durable: true, effect: isPaused(false)},
		func(*call) error { return k.store.Resume(background, typ) })
}

// limitsSubject is the subject of calls that set limits.
const limitsSubject = "limits"

func hasLimits(l tasks.TypeLimits) effect {
	return func(_, now *rows) bool { return now.limits[tasks.Form] == l }
}

// isPaused: the other limits are as they were.
func isPaused(paused bool) effect {
	return func(before, now *rows) bool {
		want := before.limits[tasks.Form]
		want.Paused = paused
		return now.limits[tasks.Form] == want
	}
}

// retryMany takes back tasks that all callers share, or that are offered.
func (k *caller) retryMany(s step, r *rand.Rand) {
	// So that there are some.
	for n := range 2 {
		k.change(fmt.Sprintf("s-%d", n), []string{"cancel", "update"}[r.IntN(2)], tasks.Error, s, r, lost...)
	}
	opts, durable := k.relaxed(r)
	f := tasks.Filter{Types: []tasks.Type{tasks.FormFilling}, Cancelled: r.IntN(2) == 0}
	if r.IntN(2) == 0 {
		f.Types = append(f.Types, tasks.Form)
	}
	switch r.IntN(3) {
	case 0:
		f.Owner = "owner"
	case 1:
		f.ErrorContains = "名"
	}
	c := call{what: "retry many", durable: durable, undoes: true, asks: asks(tasks.Pending), types: f.Types, cancelled: f.Cancelled, effect: retried(f)}
	k.call(c, func(c *call) error {
		n, err := k.store.RetryMany(background, f, opts...)
		c.reads = n == 0
		return err
	})
}

// matches reports whether a filter matches a task that is [tasks.Error].
func matches(f tasks.Filter, t taskRow) bool {
	return t.status == string(tasks.Error) && slices.Contains(f.Types, tasks.Type(t.typ)) && (f.Cancelled || !t.cancelled) &&
		(f.Owner == "" || f.Owner == t.owner) && strings.Contains(t.error, f.ErrorContains)
}

// retried: none of those that the filter matched is as it was.
func retried(f tasks.Filter) effect {
	return func(before, now *rows) bool {
		for id, t := range before.tasks {
			if matches(f, t) && now.tasks[id] == t {
				return false
			}
		}
		return true
	}
}
