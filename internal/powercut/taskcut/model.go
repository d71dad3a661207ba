package taskcut

import (
	"fmt"
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
	claims  bool   // its subject is known once it returns
	reads   bool   // it changes nothing
	settles bool   // what it has read is durable
	effect  effect // nil if there is none
	common  bool   // others may have the same effect
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
	}
	return c.subject != "" && c.subject == d.subject || slices.Contains(c.ids, d.subject) || slices.Contains(d.ids, c.subject)
}

// beside returns the other calls that touch the same and were under way at the same time.
func (c *call) beside(all []*call) (list []*call) {
	for _, d := range all {
		if d != c && !d.reads && d.begin <= c.acked && c.begin <= d.acked && c.touches(d) {
			list = append(list, d)
		}
	}
	return list
}

// checkRows checks what must hold of the tables at any time. Calls are those that have begun.
func (x *run) checkRows(s *rows, begun []*call) error {
	results, asked := map[string]map[string]bool{}, map[string]map[tasks.Status]bool{}
	for _, c := range begun {
		ids := c.ids
		if c.subject != "" {
			ids = append(ids[:len(ids):len(ids)], c.subject)
		}
		if c.claims {
			ids = []string{"*"} // of those that are offered, any
		}
		for _, id := range ids {
			if asked[id] == nil {
				results[id], asked[id] = map[string]bool{}, map[tasks.Status]bool{}
			}
			results[id][c.result] = true
			for _, status := range c.asks {
				asked[id][status] = true
			}
		}
	}
	for id, t := range s.tasks {
		status := tasks.Status(t.status)
		if strings.HasPrefix(id, "old-") {
			continue
		}
		if !asked[id][status] && !(t.typ == string(tasks.Form) && asked["*"][status]) {
			return fmt.Errorf("I2: task %s is %s, which no call has asked for", id, status)
		}
		if t.hasResult != (status == tasks.Completed) || t.hasResult && !results[id][t.result] {
			return fmt.Errorf("I5: task %s is %s with the result %.60q, which no call has given it", id, status, t.result)
		}
		if err := checkAttempts(id, t, s.attempts[id]); err != nil {
			return err
		}
	}
	for id := range s.attempts {
		if _, ok := s.tasks[id]; !ok {
			return fmt.Errorf("I5: attempts at %s, which isn't there", id)
		}
	}
	for id, status := range s.docs {
		if s.tasks[id].status != status {
			return fmt.Errorf("I5: the application's document of %s says %s, and the task %q", id, status, s.tasks[id].status)
		}
	}
	for id := range s.tasks {
		if _, ok := s.docs[id]; !ok && strings.HasPrefix(id, "d-") {
			return fmt.Errorf("I5: task %s is there without the application's document", id)
		}
	}
	for key, e := range s.cache {
		if e.stored && (!x.computed[key][e.result] || e.lease != "") {
			return fmt.Errorf("I6: the cache has %.60q for %s, which nothing computed", e.result, key.Key)
		}
	}
	return nil
}

func checkAttempts(id string, t taskRow, list []attemptRow) error {
	if len(list) != t.attempts {
		return fmt.Errorf("I5: task %s has %d attempts, and %d are listed", id, t.attempts, len(list))
	}
	for i, a := range list {
		if a.n != i+1 || !a.ended && i < len(list)-1 {
			return fmt.Errorf("I5: attempts at task %s: %+v", id, list)
		}
	}
	// Those that are offered are changed by their workers alone.
	if n := len(list); t.typ == string(tasks.Form) && t.status != string(tasks.Processing) && n > 0 && !list[n-1].ended {
		return fmt.Errorf("I5: task %s is %s, its attempts are %+v", id, t.status, list)
	}
	if (t.lease != "") && (t.status != string(tasks.Processing) || len(list) == 0 || list[len(list)-1].ended) {
		return fmt.Errorf("I5: task %s is %s and leased, its attempts are %+v", id, t.status, list)
	}
	return nil
}

// checkStep checks that no task went from a state to the one after it in a way that is never allowed:
// one that is completed stays so until it is deleted.
func checkStep(before, now *rows, begun []*call) error {
	for id, t := range before.tasks {
		if t.status != string(tasks.Completed) || strings.HasPrefix(id, "old-") {
			continue
		}
		u, ok := now.tasks[id]
		if ok && u.status == t.status && u.result == t.result {
			continue
		}
		if !slices.ContainsFunc(begun, func(c *call) bool { return c.deletes && c.subject == id }) {
			return fmt.Errorf("I2: task %s was completed, and is %q, though nobody has deleted it", id, u.status)
		}
	}
	return nil
}
