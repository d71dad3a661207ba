package taskcut

import (
	"fmt"
	"slices"
	"strings"

	"github.com/docusnap/asyncvfs/tasks"
)

// asked is what calls have asked for tasks, or for all of a type.
type asked struct {
	statuses          map[tasks.Status]bool
	results, partials map[string]bool
	advances          map[tasks.Advance]bool
}

// askedFor returns what calls have asked for, by the ids of tasks, and for any of a type.
func askedFor(calls []*call) (byID map[string]*asked, byType map[tasks.Type]*asked) {
	byID, byType = map[string]*asked{}, map[tasks.Type]*asked{}
	for _, c := range calls {
		ids := c.ids
		if c.subject != "" {
			ids = append(ids[:len(ids):len(ids)], c.subject)
		}
		for _, id := range ids {
			note(byID, id, c)
		}
		for _, t := range c.types {
			note(byType, t, c)
		}
	}
	return byID, byType
}

func note[K comparable](of map[K]*asked, key K, c *call) {
	a := of[key]
	if a == nil {
		a = &asked{map[tasks.Status]bool{}, map[string]bool{}, map[string]bool{}, map[tasks.Advance]bool{{}: true}}
		of[key] = a
	}
	for _, status := range c.asks {
		a.statuses[status] = true
	}
	a.results[c.result], a.partials[c.partial], a.advances[c.advance] = true, true, true
}

// checkRows checks what must hold of the tables at any time. Calls are those that have begun.
func (x *run) checkRows(s *rows, begun []*call) error {
	byID, byType := askedFor(begun)
	for id, t := range s.tasks {
		if strings.HasPrefix(id, "old-") {
			continue
		}
		status, of, any := tasks.Status(t.status), byID[id], byType[tasks.Type(t.typ)]
		if of == nil || !of.statuses[status] && (any == nil || !any.statuses[status]) {
			return fmt.Errorf("I2: task %s is %s, which no call has asked for", id, status)
		}
		given := of.results
		if status != tasks.Completed {
			given = of.partials
		}
		if t.hasResult != (t.result != "") || t.hasResult && !given[t.result] || status == tasks.Completed && !t.hasResult {
			return fmt.Errorf("I5: task %s is %s with the result %.60q, which no call has given it", id, status, t.result)
		}
		if !of.advances[t.advance] {
			return fmt.Errorf("I5: task %s is at %+v, which no call has reported", id, t.advance)
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
	for key, result := range s.steps {
		switch t, ok := s.tasks[key.id]; {
		case !ok || t.status == string(tasks.Completed):
			return fmt.Errorf("I5: step %s of task %s, which is %q", key.name, key.id, t.status)
		case !x.steps[stepRow{key, result}]:
			return fmt.Errorf("I5: step %s of task %s has the result %.60q, which nothing computed", key.name, key.id, result)
		}
	}
	for id, doc := range s.docs {
		if t := s.tasks[id]; t.status != doc.status || t.advance.Note != doc.note {
			return fmt.Errorf("I5: the application's document of %s says %+v, and the task %+v", id, doc, t)
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
// one that is completed stays so until it is deleted, and one that was cancelled is taken back only by who asks for that.
// Begun are the calls that have begun by then, and since is where in the trace the state before was there.
func checkStep(before, now *rows, begun []*call, since int) error {
	for id, t := range before.tasks {
		if strings.HasPrefix(id, "old-") {
			continue
		}
		u, ok := now.tasks[id]
		switch {
		case t.status == string(tasks.Completed):
			if ok && u.status == t.status && u.result == t.result {
				continue
			}
			if !slices.ContainsFunc(begun, func(c *call) bool { return c.deletes && c.subject == id }) {
				return fmt.Errorf("I2: task %s was completed, and is %q, though nobody has deleted it", id, u.status)
			}
		case t.cancelled && u.status == string(tasks.Pending):
			if !slices.ContainsFunc(begun, func(c *call) bool {
				return c.acked >= since && (c.undoes && c.subject == id || c.cancelled && c.mayChange(id))
			}) {
				return fmt.Errorf("I2: task %s was cancelled, and is pending, though nobody has asked for that", id)
			}
		}
	}
	return checkClaims(before, now, begun, since)
}

// checkClaims checks that no task was handed out while its type was paused, or at its limit.
func checkClaims(before, now *rows, begun []*call, since int) error {
	if slices.ContainsFunc(begun, func(c *call) bool { return c.subject == limitsSubject && c.acked >= since }) {
		return nil // they may have changed in between
	}
	running := map[string]int{}
	for _, t := range now.tasks {
		if t.lease != "" {
			running[t.typ]++
		}
	}
	for id, t := range now.tasks {
		if t.lease == "" || t.lease == before.tasks[id].lease {
			continue
		}
		l := now.limits[tasks.Type(t.typ)]
		if l.Paused || l.Running > 0 && running[t.typ] > l.Running {
			return fmt.Errorf("I8: task %s was handed out, of whose type %d are, at the limits %+v", id, running[t.typ], l)
		}
	}
	return nil
}
