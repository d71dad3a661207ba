package backendtest

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// input: what a task is created with is kept byte by byte, also where nothing is, and goes with the task.
func input(e *env) {
	raw := json.RawMessage(`{"Datei":"Größe 文件.pdf","b":1.0,"a":[null,12345678901234567890.10]}`)
	e.NoError(e.st.Create(e.ctx, "a", tasks.Form, tasks.Input(raw)))
	e.create("none", tasks.Form, tasks.Pending)
	got, err := e.other.Input(e.ctx, "a")
	e.NoError(err)
	e.Equal(string(raw), string(got))
	got, err = e.st.Input(e.ctx, "none")
	e.NoError(err)
	e.Nil(got)
	_, err = e.st.Input(e.ctx, "nobody")
	e.ErrorIs(err, tasks.ErrNotFound)
	e.Nil(e.get(e.st, "a").Raw, "it isn't the result")
	c, err := e.other.Claim(e.ctx, time.Minute)
	e.NoError(err)
	e.Equal("a", c.ID)
	e.Equal(string(raw), string(c.Input))
	e.NoError(e.st.Delete(e.ctx, "a"))
	e.create("a", tasks.Form, tasks.Pending)
	got, err = e.st.Input(e.ctx, "a")
	e.NoError(err)
	e.Nil(got, "it went with its task")
	e.Nil(e.st.CreateMany(e.ctx, []tasks.NewTask{{ID: "many", Type: tasks.Form, Options: []tasks.CallOption{tasks.Input(7)}}}))
	got, err = e.st.Input(e.ctx, "many")
	e.NoError(err)
	e.Equal("7", string(got))
	e.ErrorIs(e.st.Create(e.ctx, "bad", tasks.Form, tasks.Input(func() {})), tasks.ErrInvalid)
}

// createOrGet: the same again is the same task; with something else it is an error that says so.
func createOrGet(e *env) {
	get := func(st Store, id string, t tasks.Type, opts ...tasks.CallOption) (tasks.Info, bool, error) {
		e.t.Helper()
		return st.CreateOrGet(e.ctx, id, t, opts...)
	}
	in := tasks.Input(map[string]any{"a": 1, "b": 2})
	first, created, err := get(e.st, "a", tasks.Form, in)
	e.NoError(err)
	e.True(created)
	e.NoError(e.st.Update(e.ctx, "a", tasks.Completed, "done"))
	again, created, err := get(e.other, "a", tasks.Form, tasks.Input(json.RawMessage(`{ "b": 2.0, "a": 1 }`)))
	e.NoError(err)
	e.False(created, "it is there")
	e.Equal(first.ID, again.ID)
	e.Equal(tasks.Completed, again.Status)
	for _, other := range []func() (tasks.Info, bool, error){
		func() (tasks.Info, bool, error) { return get(e.st, "a", tasks.Form, tasks.Input(2)) },
		func() (tasks.Info, bool, error) { return get(e.st, "a", tasks.Form) },
		func() (tasks.Info, bool, error) { return get(e.st, "a", tasks.Document, in) },
		func() (tasks.Info, bool, error) { return get(e.st, "a", tasks.Form, in, tasks.Owner("o")) },
	} {
		_, created, err := other()
		e.ErrorIs(err, tasks.ErrInputDiffers)
		e.False(created)
	}
	// A unique key names the task whatever the ids are, for each owner by itself.
	key := tasks.UniqueKey("scan 7")
	k1, created, err := get(e.st, "", tasks.Form, in, key)
	e.NoError(err)
	e.True(created)
	e.NotEmpty(k1.ID)
	k2, created, err := get(e.other, "other id", tasks.Form, in, key)
	e.NoError(err)
	e.False(created)
	e.Equal(k1.ID, k2.ID)
	_, _, err = get(e.other, "", tasks.Form, tasks.Input(3), key)
	e.ErrorIs(err, tasks.ErrInputDiffers)
	k3, created, err := get(e.other, "", tasks.Form, in, key, tasks.Owner("o"))
	e.NoError(err)
	e.True(created)
	e.NotEqual(k1.ID, k3.ID)
	var exists *tasks.ExistsError
	e.ErrorAs(e.st.Create(e.ctx, "third", tasks.Form, key), &exists)
	e.Equal(k1.ID, exists.ID)
	e.NoError(e.st.Delete(e.ctx, k1.ID))
	e.NoError(e.st.Create(e.ctx, "third", tasks.Form, key), "the key is free again")
}

// fromCache: a task whose result is known is done when it is created.
func fromCache(e *env) {
	e.do(e.st, "scan", "text")
	e.clock.Add(time.Second)
	e.NoError(e.st.Create(e.ctx, "a", tasks.Form, tasks.Input("scan"), tasks.FromCache()))
	e.NoError(e.st.Create(e.ctx, "b", tasks.Form, tasks.Input("other"), tasks.FromCache()))
	e.NoError(e.st.Create(e.ctx, "c", tasks.Form, tasks.Input("scan")))
	a := e.get(e.st, "a")
	e.Equal(tasks.Completed, a.Status)
	e.Equal(`"text"`, string(a.Raw))
	e.Equal(e.clock.Now(), a.EndedAt)
	for _, id := range []string{"b", "c"} {
		e.Equal(tasks.Pending, e.get(e.st, id).Status)
	}
	counts, err := e.st.Count(e.ctx)
	e.NoError(err)
	e.Equal(map[tasks.Status]int{tasks.Completed: 1, tasks.Pending: 2}, counts[tasks.Form])
}

// owner: lists, counts and cleanups can be limited to one.
func owner(e *env) {
	for i, of := range []string{"a", "b", "a", ""} {
		var opts []tasks.CallOption
		if of != "" {
			opts = append(opts, tasks.Owner(of))
		}
		e.NoError(e.st.Create(e.ctx, string("wxyz"[i]), []tasks.Type{tasks.Form, tasks.Document}[i/2], opts...))
		e.clock.Add(time.Second)
	}
	e.Equal("b", e.get(e.st, "x").Owner)
	e.Equal("w y", e.ids(tasks.Query{Owner: "a"}))
	e.Equal("y w", e.ids(tasks.Query{Owner: "a", Newest: true}))
	e.Equal("y", e.ids(tasks.Query{Owner: "a", Types: []tasks.Type{tasks.Document}}))
	e.Equal("", e.ids(tasks.Query{Owner: "c"}))
	e.Equal("w x y z", e.ids(tasks.Query{}))
	e.NoError(e.st.Update(e.ctx, "w", tasks.Completed, nil))
	counts, err := e.st.CountOwner(e.ctx, "a")
	e.NoError(err)
	e.Equal(map[tasks.Type]map[tasks.Status]int{tasks.Form: {tasks.Completed: 1}, tasks.Document: {tasks.Pending: 1}}, counts)
	e.clock.Add(time.Hour)
	n, err := e.st.CleanupOwner(e.ctx, "a", time.Hour)
	e.NoError(err)
	e.Equal(2, n)
	e.Equal("x z", e.ids(tasks.Query{}))
}

func labels(e *env) {
	label := func(kv ...string) tasks.CallOption {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return tasks.WithLabels(m)
	}
	e.NoError(e.st.Create(e.ctx, "a", tasks.Form, label("kind", "invoice", "größe", "文件")))
	e.NoError(e.st.Create(e.ctx, "b", tasks.Document, label("kind", "invoice")))
	e.NoError(e.st.Create(e.ctx, "c", tasks.Form, label("kind", "letter", "empty", "")))
	info := e.get(e.st, "a").Info
	e.Equal(map[string]string{"kind": "invoice", "größe": "文件"}, info.Labels.Map())
	list, err := e.st.List(e.ctx, tasks.Query{Label: [2]string{"kind", "invoice"}})
	e.NoError(err)
	e.Equal("a b", names(list))
	e.Equal(info, list[0])
	e.Equal("b", e.ids(tasks.Query{Label: [2]string{"kind", "invoice"}, Types: []tasks.Type{tasks.Document}}))
	e.Equal("b", e.ids(tasks.Query{Label: [2]string{"kind", "invoice"}, After: info}))
	e.Equal("b a", e.ids(tasks.Query{Label: [2]string{"kind", "invoice"}, Newest: true}))
	e.Equal("c", e.ids(tasks.Query{Label: [2]string{"empty", ""}}))
	e.Equal("", e.ids(tasks.Query{Label: [2]string{"kind", ""}}))
	// By a status too, which changes.
	of := func(statuses ...tasks.Status) string {
		e.t.Helper()
		return e.ids(tasks.Query{Label: [2]string{"kind", "invoice"}, Statuses: statuses})
	}
	e.Equal("a b", of(tasks.Pending))
	claimed, err := e.st.Claim(e.ctx, time.Minute, tasks.Document)
	e.NoError(err)
	e.Equal("a", of(tasks.Pending))
	e.Equal("b", of(tasks.Processing))
	e.NoError(e.st.Fail(e.ctx, claimed, tasks.Permanent(errors.New("why"))))
	e.NoError(e.st.Update(e.ctx, "a", tasks.Completed, 1))
	e.Equal("", of(tasks.Pending, tasks.Processing))
	e.Equal("a", of(tasks.Completed))
	e.Equal("a b", of(tasks.Completed, tasks.Error))
	e.NoError(e.st.Retry(e.ctx, "b"))
	e.Equal("b", of(tasks.Pending))
	e.NoError(e.st.Cancel(e.ctx, "b"))
	e.Equal("b", of(tasks.Error))
	e.NoError(e.st.Create(e.ctx, "o", tasks.Form, label("kind", "invoice"), tasks.Owner("me")))
	e.Equal("o", e.ids(tasks.Query{Label: [2]string{"kind", "invoice"}, Owner: "me"}))
	e.Equal("", e.ids(tasks.Query{Label: [2]string{"kind", "invoice"}, Owner: "me", Statuses: []tasks.Status{tasks.Completed}}))
	e.NoError(e.st.Delete(e.ctx, "o"))
	e.NoError(e.st.Delete(e.ctx, "a"))
	e.create("a", tasks.Form, tasks.Pending)
	e.Equal("b", e.ids(tasks.Query{Label: [2]string{"kind", "invoice"}}))
	many := map[string]string{}
	for i := range tasks.MaxLabels + 1 {
		many[string(rune('a'+i))] = "x"
	}
	e.ErrorIs(e.st.Create(e.ctx, "d", tasks.Form, tasks.WithLabels(many)), tasks.ErrInvalid)
}

// claims returns the ids of the tasks that are claimed one after the other.
func (e *env) claims(st Store, types ...tasks.Type) (ids string) {
	e.t.Helper()
	for {
		c, err := st.Claim(e.ctx, time.Hour, types...)
		if errors.Is(err, tasks.ErrNoTask) {
			return ids
		}
		e.NoError(err)
		ids += c.ID
	}
}

// priority: a level is worth an hour, so that nobody starves.
func priority(e *env) {
	create := func(id string, n int) { e.NoError(e.st.Create(e.ctx, id, tasks.Form, tasks.Priority(n))) }
	create("a", 0)
	create("b", 1)
	create("c", -1)
	create("d", 2)
	create("e", 1)
	e.Equal(1, e.get(e.st, "b").Priority)
	e.Equal("dbeac", e.claims(e.st))
	create("f", 0)
	e.clock.Add(59 * time.Minute)
	create("g", 1)
	e.clock.Add(2 * time.Minute)
	create("h", 1)
	e.Equal("gfh", e.claims(e.st), "who has waited for an hour is before who comes then")
	e.ErrorIs(e.st.Create(e.ctx, "i", tasks.Form, tasks.Priority(tasks.MaxPriority+1)), tasks.ErrInvalid)
}

func runAt(e *env) {
	at := e.clock.Now().Add(time.Hour + 500*time.Millisecond)
	e.NoError(e.st.Create(e.ctx, "a", tasks.Form, tasks.RunAt(at)))
	e.Equal(at, e.get(e.st, "a").RunAt)
	e.NoError(e.st.Create(e.ctx, "b", tasks.Form, tasks.RunAt(e.clock.Now().Add(-time.Hour))))
	e.NoError(e.st.Create(e.ctx, "d", tasks.Form, tasks.RunAt(at)))
	e.create("c", tasks.Form, tasks.Pending)
	e.Equal("bc", e.claims(e.st))
	e.clock.Add(time.Hour + 499*time.Millisecond)
	e.Equal("", e.claims(e.st))
	e.create("e", tasks.Form, tasks.Pending)
	e.clock.Add(time.Millisecond)
	e.Equal("ade", e.claims(e.st), "in the order of all")
	e.True(e.get(e.st, "a").RunAt.IsZero())
}

// taskAttempts: a task's own number of attempts, backoff and timeout.
func taskAttempts(e *env) {
	e.NoError(e.st.Create(e.ctx, "a", tasks.Form, tasks.TaskAttempts(3), tasks.TaskBackoff(time.Second), tasks.TaskTimeout(2*time.Second)))
	for n := range 3 {
		c, err := e.st.Claim(e.ctx, time.Hour)
		e.NoError(err)
		e.Equal(2*time.Second, c.Timeout)
		e.Equal(time.Second, c.Backoff)
		e.Equal(3, c.MaxAttempts)
		e.NoError(e.st.Fail(e.ctx, c, errors.New("why")))
		if n < 2 {
			wait := time.Second << n
			e.clock.Add(wait/2 - time.Millisecond)
			e.Equal("", e.claims(e.st), "the backoff isn't over")
			e.clock.Add(wait + time.Millisecond)
		}
	}
	e.Equal(tasks.Error, e.get(e.st, "a").Status)
	for _, o := range []tasks.CallOption{tasks.TaskAttempts(0), tasks.TaskBackoff(0), tasks.TaskTimeout(0), tasks.UniqueKey(""), tasks.Owner("\n"), tasks.RunAt(time.Unix(-1, 0))} {
		e.ErrorIs(e.st.Create(e.ctx, "bad", tasks.Form, o), tasks.ErrInvalid)
	}
}

// retryMany takes back what a filter matches.
func retryMany(e *env) {
	for i, text := range []string{"disk full", "no pages", "disk full", "", "disk full"} {
		id := string("abcde"[i])
		e.NoError(e.st.Create(e.ctx, id, []tasks.Type{tasks.Form, tasks.Document}[i%2], tasks.Owner(string("ooppo"[i]))))
		if text != "" {
			e.NoError(e.st.Update(e.ctx, id, tasks.Error, nil, tasks.ErrorText(text)))
		}
		e.clock.Add(time.Second)
	}
	e.NoError(e.st.Create(e.ctx, "f", tasks.Form))
	e.NoError(e.st.Cancel(e.ctx, "f"))
	pending := func(f tasks.Filter, n int, want string) {
		e.t.Helper()
		got, err := e.st.RetryMany(e.ctx, f)
		e.NoError(err)
		e.Equal(n, got)
		e.Equal(want, e.ids(tasks.Query{Statuses: []tasks.Status{tasks.Pending}}))
	}
	pending(tasks.Filter{ErrorContains: "disk", CreatedFrom: e.clock.Now().Add(-time.Second)}, 1, "d e")
	pending(tasks.Filter{ErrorContains: "disk", Owner: "o"}, 1, "a d e")
	pending(tasks.Filter{Types: []tasks.Type{tasks.Document}, CreatedBefore: e.clock.Now().Add(-3 * time.Second)}, 1, "a b d e")
	pending(tasks.Filter{}, 1, "a b c d e")
	pending(tasks.Filter{Cancelled: true}, 1, "a b c d e f")
	e.False(e.get(e.st, "f").Cancelled)
}

// cleanupByUse spares what somebody reads.
func cleanupByUse(e *env) {
	for _, id := range []string{"used", "unused"} {
		e.create(id, tasks.Form, tasks.Pending)
		e.NoError(e.st.Update(e.ctx, id, tasks.Completed, id))
	}
	e.clock.Add(50 * time.Minute)
	e.get(e.st, "used")
	e.clock.Add(10 * time.Minute)
	clean := func() (deleted int) {
		ctx, cancel := context.WithCancel(e.ctx)
		defer cancel()
		e.NoError(e.st.RunJanitor(ctx, tasks.Janitor{Every: time.Millisecond, Default: time.Hour, ByUse: true, OnCleanup: func(n int, err error) {
			deleted = n
			cancel()
		}}))
		return deleted
	}
	e.Equal(1, clean())
	e.Equal("used", e.ids(tasks.Query{}))
	e.clock.Add(50 * time.Minute)
	e.Equal(1, clean())
	e.Equal("", e.ids(tasks.Query{}))
}
