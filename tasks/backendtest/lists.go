package backendtest

import (
	"context"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// ids returns the ids of a query's tasks, in order.
func (e *env) ids(q tasks.Query) string {
	e.t.Helper()
	list, err := e.st.List(e.ctx, q)
	e.NoError(err)
	return names(list)
}

func names(list []tasks.Info) string {
	ids := make([]string, len(list))
	for i, t := range list {
		ids[i] = t.ID
	}
	return strings.Join(ids, " ")
}

// groups creates tasks of which some have equal times. The order of ids is that of their bytes.
func groups(e *env) {
	for i, group := range []string{"z é a B b", "y A", "x c"} {
		if i > 0 {
			e.clock.Add(time.Second)
		}
		for id := range strings.FieldsSeq(group) {
			e.create(id, tasks.Form, tasks.Pending)
		}
	}
}

const (
	oldest = "B a b z é A y c x"
	newest = "x c y A é z b a B"
)

func listOrder(e *env) {
	e.Empty(e.ids(tasks.Query{}))
	groups(e)
	e.Equal(oldest, e.ids(tasks.Query{}))
	e.Equal(newest, e.ids(tasks.Query{Newest: true}))
	e.Equal("B a", e.ids(tasks.Query{Limit: 2}))
	// A change doesn't move a task, and the list has it at once.
	e.clock.Add(time.Minute)
	e.NoError(e.st.Update(e.ctx, "b", tasks.Error, 1, tasks.ErrorText("why")))
	e.Equal(oldest, e.ids(tasks.Query{}))
	list, err := e.st.List(e.ctx, tasks.Query{})
	e.NoError(err)
	for _, t := range list {
		e.Equal(e.get(e.st, t.ID).Info, t, "the list says of a task what Status says")
	}
	e.NoError(e.st.Delete(e.ctx, "a"))
	e.Equal("B b z é A y c x", e.ids(tasks.Query{}))
}

func listFilters(e *env) {
	for i, t := range []tasks.Type{tasks.Document, tasks.Form, tasks.FormFilling} {
		for _, s := range statuses {
			e.create(string("dfg"[i])+string(s[:2]), t, s)
		}
		e.clock.Add(time.Second)
	}
	for _, test := range []struct {
		q    tasks.Query
		want string
	}{
		{tasks.Query{}, "dco der dpe dpr fco fer fpe fpr gco ger gpe gpr"},
		{tasks.Query{Types: []tasks.Type{tasks.Form}}, "fco fer fpe fpr"},
		{tasks.Query{Types: []tasks.Type{tasks.FormFilling, tasks.Document}}, "dco der dpe dpr gco ger gpe gpr"},
		{tasks.Query{Statuses: []tasks.Status{tasks.Completed}}, "dco fco gco"},
		{tasks.Query{Statuses: []tasks.Status{tasks.Error, tasks.Pending}, Newest: true}, "gpe ger fpe fer dpe der"},
		{tasks.Query{Types: []tasks.Type{tasks.Form, tasks.Document}, Statuses: []tasks.Status{tasks.Processing, tasks.Error}, Limit: 3}, "der dpr fer"},
	} {
		e.Equal(test.want, e.ids(test.q), "%+v", test.q)
	}
}

func listPages(e *env) {
	groups(e)
	for limit := 1; limit <= 10; limit++ {
		for _, q := range []tasks.Query{{Limit: limit}, {Limit: limit, Newest: true}} {
			var all []tasks.Info
			for range 20 {
				list, err := e.st.List(e.ctx, q)
				e.NoError(err)
				all = append(all, list...)
				if len(list) < limit {
					break
				}
				q.After = list[limit-1]
			}
			want := oldest
			if q.Newest {
				want = newest
			}
			e.Equal(want, names(all), "pages of %d", limit)
		}
	}
	// The task that a page ends with may be gone when the next one is asked for.
	list, err := e.st.List(e.ctx, tasks.Query{Limit: 4})
	e.NoError(err)
	e.NoError(e.st.Delete(e.ctx, list[3].ID))
	e.Equal("é A y c x", e.ids(tasks.Query{After: list[3]}))
	e.Equal("b a B", e.ids(tasks.Query{After: list[3], Newest: true}))
	e.Empty(e.ids(tasks.Query{After: list[3], Types: []tasks.Type{tasks.Document}}))
}

func count(e *env) {
	counts, err := e.st.Count(e.ctx)
	e.NoError(err)
	e.Empty(counts)
	e.create("a", tasks.Form, tasks.Pending)
	e.create("b", tasks.Form, tasks.Pending)
	e.create("c", tasks.Form, tasks.Error)
	e.create("d", tasks.Document, tasks.Completed)
	e.create("e", tasks.FormFilling, tasks.Pending)
	e.NoError(e.st.Delete(e.ctx, "e"))
	counts, err = e.st.Count(e.ctx)
	e.NoError(err)
	e.Equal(map[tasks.Type]map[tasks.Status]int{
		tasks.Form: {tasks.Pending: 2, tasks.Error: 1}, tasks.Document: {tasks.Completed: 1},
	}, counts)
}

func cleanupByAge(e *env) {
	e.create("claimed", tasks.Form, tasks.Pending)
	c, err := e.st.Claim(e.ctx, time.Minute)
	e.NoError(err)
	e.NoError(e.st.Complete(e.ctx, c, 1))
	e.create("a", tasks.Form, tasks.Error)
	e.clock.Add(time.Second)
	e.create("b", tasks.Form, tasks.Pending)
	e.clock.Add(time.Second)
	e.create("c", tasks.Form, tasks.Pending)
	e.clock.Add(time.Hour - time.Second)
	// What counts is when a task was created, not when it was changed.
	e.NoError(e.st.Update(e.ctx, "b", tasks.Processing, nil))
	for _, step := range []struct {
		age  time.Duration
		n    int
		left string
	}{
		{2 * time.Hour, 0, "a claimed b c"},
		{time.Hour + time.Second, 2, "b c"},
		{time.Hour, 1, "c"}, // b is exactly that old
		{time.Hour, 0, "c"},
		{0, 1, ""},
	} {
		n, err := e.st.Cleanup(e.ctx, step.age)
		e.NoError(err)
		e.Equal(step.n, n, step.age)
		e.Equal(step.left, e.ids(tasks.Query{}), step.age)
	}
	_, err = e.st.Status(e.ctx, "b")
	e.ErrorIs(err, tasks.ErrNotFound)
	_, err = e.st.Attempts(e.ctx, "claimed")
	e.ErrorIs(err, tasks.ErrNotFound)
	e.create("claimed", tasks.Form, tasks.Pending)
	list, err := e.st.Attempts(e.ctx, "claimed")
	e.NoError(err)
	e.Empty(list, "attempts go with their task")
}

// cleanupByStatus lets a janitor clean up, who is the one that asks for statuses.
func cleanupByStatus(e *env) {
	clean := func(keep map[tasks.Status]time.Duration) (deleted int) {
		ctx, cancel := context.WithCancel(e.ctx)
		defer cancel()
		var failed error
		e.NoError(e.st.RunJanitor(ctx, tasks.Janitor{Every: time.Millisecond, Keep: keep, Default: -1, OnCleanup: func(n int, err error) {
			deleted, failed = n, err
			cancel()
		}}))
		e.NoError(failed)
		return deleted
	}
	for _, age := range []string{"old-", "new-"} {
		for _, s := range statuses {
			e.create(age+string(s[:2]), tasks.Form, s)
		}
		e.clock.Add(time.Hour)
	}
	// The old ones are two hours old now, and the new ones one.
	e.Equal(0, clean(map[tasks.Status]time.Duration{tasks.Completed: 3 * time.Hour}))
	e.Equal(1, clean(map[tasks.Status]time.Duration{tasks.Completed: 2 * time.Hour}))
	e.Equal("old-er old-pe old-pr new-co new-er new-pe new-pr", e.ids(tasks.Query{}))
	e.Equal(3, clean(map[tasks.Status]time.Duration{tasks.Error: time.Hour, tasks.Pending: 2 * time.Hour}))
	e.Equal("old-pr new-co new-pe new-pr", e.ids(tasks.Query{}))
}
