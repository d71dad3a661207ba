package taskcut

import (
	"slices"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// call is what a caller asked for, and was told.
type call struct {
	what    string
	subject string   // what it changes: calls with the same one may undo each other
	ids     []string // of tasks, instead of the subject
	asks    []tasks.Status
	result  string // as JSON, of the tasks it completes
	deletes bool
	partial string // as JSON, of the task while it is processing
	advance tasks.Advance
	types   []tasks.Type // of tasks any of which it may change
	claims  bool         // its subject is known once it returns
	// cancelled is whether it may take back tasks that were cancelled.
	cancelled bool
	reads     bool   // it changes nothing
	settles   bool   // what it has read is durable
	effect    effect // nil if there is none
	common    bool   // others may have the same effect
	// onlyAlone is set if nothing is promised while others change the same.
	onlyAlone bool
	undoes    bool // it may make a task what it was before another call
	durable   bool
	app       bool // it is a transaction of the application
	stock     bool // on the stock VFS, where a call that finds nothing to do says nothing of what others did
	failed    bool // it returned an error
	begin     int  // events of the trace before it began
	acked     int  // and before it returned
	ackedAt   time.Duration
	required  int // the live state that has its effect, or 0
}

// effect reports whether a call has had its effect. Before is what was there when it began.
type effect func(before, now *rows) bool

func asks(s ...tasks.Status) []tasks.Status { return s }

// quoted is a text as JSON. The texts have nothing to escape.
func quoted(text string) string { return `"` + text + `"` }

func hasStatus(id string, status tasks.Status) effect {
	return func(_, now *rows) bool { return now.tasks[id].status == string(status) }
}

func hasResult(id, text string) effect {
	return func(_, now *rows) bool {
		t := now.tasks[id]
		return t.status == string(tasks.Completed) && t.result == quoted(text)
	}
}

func hasFailed(id, text string) effect {
	return func(_, now *rows) bool { return now.tasks[id].error == text }
}

func hasLease(id, lease string) effect {
	return func(_, now *rows) bool { return now.tasks[id].lease == lease }
}

func hasPartial(id, text string) effect {
	return func(_, now *rows) bool { return now.tasks[id].result == quoted(text) }
}

func hasAdvance(id string, a tasks.Advance) effect {
	return func(_, now *rows) bool { return now.tasks[id].advance == a }
}

// hasStep: a step that ran has not been stored before.
func hasStep(id, name, text string, ran bool) effect {
	return func(before, now *rows) bool {
		if _, stored := before.steps[stepKey{id, name}]; stored && ran {
			return false
		}
		return now.steps[stepKey{id, name}] == quoted(text)
	}
}

func gone(id string) effect {
	return func(_, now *rows) bool {
		_, there := now.tasks[id]
		return !there
	}
}

func allOf(list []effect) effect {
	return func(before, now *rows) bool {
		return !slices.ContainsFunc(list, func(e effect) bool { return !e(before, now) })
	}
}

// oldTasksGone: all tasks have an id that says whether they are old.
func oldTasksGone(_, now *rows) bool {
	for id := range now.tasks {
		if strings.HasPrefix(id, "old-") {
			return false
		}
	}
	return true
}

func isCached(key tasks.CacheKey, raw string) effect {
	return func(_, now *rows) bool { return now.cache[key].result == raw }
}

// notCached: what was stored is not stored any more.
func notCached(key tasks.CacheKey) effect {
	return func(before, now *rows) bool {
		return !before.cache[key].stored || now.cache[key].result != before.cache[key].result
	}
}

func nothingCached(before, now *rows) bool {
	for key := range before.cache {
		if !notCached(key)(before, now) {
			return false
		}
	}
	return true
}

// touches reports whether two calls may undo what the other does.
func (c *call) touches(d *call) bool {
	switch {
	case c.subject == "cache" || d.subject == "cache":
		return strings.HasPrefix(c.subject, "cache") && strings.HasPrefix(d.subject, "cache")
	case c.claims && c.failed || d.claims && d.failed:
		return false
	case c.mayChange(d.subject) || d.mayChange(c.subject):
		return true
	}
	return c.subject != "" && c.subject == d.subject || slices.Contains(c.ids, d.subject) || slices.Contains(d.ids, c.subject)
}

// mayChange reports whether a call that claims nothing may change a task as one of many of its type.
func (c *call) mayChange(id string) bool {
	return !c.claims && id != "" && slices.ContainsFunc(c.types, func(t tasks.Type) bool { return strings.HasPrefix(id, prefixes[t]) })
}

// prefixes are those of the ids of tasks that all callers change.
var prefixes = map[tasks.Type]string{tasks.Form: "f-", tasks.FormFilling: "s-"}

// beside returns the other calls that touch the same and were under way at the same time.
func (c *call) beside(all []*call) (list []*call) {
	for _, d := range all {
		if d != c && !d.reads && d.begin <= c.acked && c.begin <= d.acked && c.touches(d) {
			list = append(list, d)
		}
	}
	return list
}
