package backendtest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

var statuses = []tasks.Status{tasks.Pending, tasks.Processing, tasks.Completed, tasks.Error}

func create(e *env) {
	e.NoError(e.st.Create(e.ctx, "a", tasks.Document))
	want := tasks.Result{Info: tasks.Info{ID: "a", Type: tasks.Document, Status: tasks.Pending, CreatedAt: e.clock.Now()}}
	e.clock.Add(time.Minute)
	err := e.st.Create(e.ctx, "a", tasks.Form)
	e.ErrorIs(err, tasks.ErrExists)
	e.ErrorContains(err, `"a"`)
	e.Equal(want, e.get(e.st, "a"), "the one that was there isn't touched")
	info, err := e.st.Status(e.ctx, "a")
	e.NoError(err)
	e.Equal(want.Info, info)

	// Ids are compared byte by byte, and nothing in them has a meaning.
	for i, id := range []string{"A", "a ", "%", "_", "a/b?c#d", `'"\`, "é", "e\u0301", "文件", strings.Repeat("x", tasks.MaxID)} {
		e.NoError(e.st.Create(e.ctx, id, tasks.Form, tasks.Relaxed()), id)
		e.NoError(e.st.Update(e.ctx, id, tasks.Processing, i), id)
		r := e.get(e.st, id)
		e.Equal(id, r.ID)
		e.Equal(fmt.Sprint(i), string(r.Raw), id)
	}
	e.Equal(want, e.get(e.st, "a"))
}

// transitions tries every status after every other.
func transitions(e *env) {
	allowed := map[tasks.Status][]tasks.Status{
		tasks.Pending:    {tasks.Processing, tasks.Completed, tasks.Error},
		tasks.Processing: {tasks.Completed, tasks.Error},
	}
	for _, from := range statuses {
		for _, to := range statuses {
			id := fmt.Sprint(from, " to ", to)
			e.create(id, tasks.Form, from)
			before := e.get(e.st, id)
			e.clock.Add(time.Minute)
			err := e.st.Update(e.ctx, id, to, "after", tasks.ErrorText("after"))
			now := e.get(e.st, id)
			if contains(allowed[from], to) {
				e.NoError(err, id)
				e.Equal(to, now.Status, id)
				e.Equal(`"after"`, string(now.Raw), id)
				continue
			}
			var te *tasks.TransitionError
			e.ErrorAs(err, &te, id)
			e.Equal(tasks.TransitionError{ID: id, From: from, To: to}, *te)
			e.Equal(before, now, "%s: a change that isn't allowed changes nothing", id)
		}
	}
}

func contains(list []tasks.Status, s tasks.Status) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func update(e *env) {
	e.NoError(e.st.Create(e.ctx, "a", tasks.Document))
	e.NoError(e.st.Create(e.ctx, "b", tasks.Document))
	want := e.get(e.st, "a")
	e.True(want.UpdatedAt.IsZero())
	for _, step := range []struct {
		status tasks.Status
		result any
		raw    string
		text   string
	}{
		{tasks.Processing, "half", `"half"`, ""},
		{tasks.Error, nil, `"half"`, "no pages"}, // without a result it keeps the one it has
	} {
		e.clock.Add(time.Minute)
		e.NoError(e.st.Update(e.ctx, "a", step.status, step.result, tasks.ErrorText(step.text)))
		if step.status == tasks.Processing {
			want.StartedAt = e.clock.Now()
		} else {
			want.EndedAt = e.clock.Now()
		}
		want.Status, want.UpdatedAt, want.Error = step.status, e.clock.Now(), step.text
		want.Raw = json.RawMessage(step.raw)
		e.Equal(want, e.get(e.st, "a"))
	}
	e.NoError(e.st.Update(e.ctx, "b", tasks.Processing, nil, tasks.Relaxed()))
	b := e.get(e.st, "b")
	e.Nil(b.Raw, "there is no result yet")
	e.ErrorIs(b.Decode(new(any)), tasks.ErrNoResult)
	// JSON's null is a result, unlike none.
	e.NoError(e.st.Update(e.ctx, "b", tasks.Completed, json.RawMessage("null")))
	e.Equal("null", string(e.get(e.st, "b").Raw))
}

func resultBytes(e *env) {
	for i, raw := range []string{
		`""`, `0`, `{}`, `[[],null,false]`,
		`{"Titel":"Größe <1> & 文件 😀 'x' \\ \" \n"}`,
		`{"b":1.0,"a":1e3,"b":-0,"c":12345678901234567890.10}`, // neither sorted nor put into a normal form
		`"\u0000\u001f\u00e4\ud83d\ude00"`,
		"\"\u007f\u0085\u00a0\ufeff\ufffd\U0010ffff\"",
		`"` + strings.Repeat("ä文😀x", 1<<20/10) + `"`,
	} {
		id := fmt.Sprint(i)
		e.NoError(e.st.Create(e.ctx, id, tasks.Form))
		e.NoError(e.st.Update(e.ctx, id, tasks.Completed, json.RawMessage(raw)))
		got := string(e.get(e.st, id).Raw)
		e.Truef(raw == got, "want the result %.100s of %d bytes, got %.100s of %d", raw, len(raw), got, len(got))
	}
	// The texts of errors are kept in the same way.
	e.NoError(e.st.Create(e.ctx, "text", tasks.Form))
	text := "Seite 3: 'ä' \\ 文件 😀\n" + strings.Repeat("ü", 1000)
	e.NoError(e.st.Update(e.ctx, "text", tasks.Error, nil, tasks.ErrorText(text)))
	e.Equal(text, e.get(e.st, "text").Error)
	// What not every backend can hold is replaced before.
	e.NoError(e.st.Create(e.ctx, "nul", tasks.Form))
	e.NoError(e.st.Update(e.ctx, "nul", tasks.Error, nil, tasks.ErrorText("a\x00b\xffc")))
	e.Equal("a?b?c", e.get(e.st, "nul").Error)
}

func notFound(e *env) {
	e.create("a", tasks.Form, tasks.Error)
	want := e.get(e.st, "a")
	gone := tasks.Claimed{Info: tasks.Info{ID: "b"}, Lease: "lease"}
	_, status := e.st.Status(e.ctx, "b")
	_, result := e.st.Result(e.ctx, "b")
	_, attempts := e.st.Attempts(e.ctx, "b")
	_, waited := e.st.Wait(e.ctx, "b")
	for name, err := range map[string]error{
		"Status": status, "Result": result, "Attempts": attempts, "Wait": waited,
		"Update": e.st.Update(e.ctx, "b", tasks.Completed, 1),
		"Force":  e.st.Update(e.ctx, "b", tasks.Completed, 1, tasks.Force()),
		"Retry":  e.st.Retry(e.ctx, "b"),
		"Delete": e.st.Delete(e.ctx, "b"),
	} {
		e.ErrorIs(err, tasks.ErrNotFound, name)
		e.ErrorContains(err, `"b"`, name)
	}
	e.ErrorIs(e.st.Extend(e.ctx, &gone, time.Minute), tasks.ErrLeaseLost)
	e.ErrorIs(e.st.Complete(e.ctx, gone, 1), tasks.ErrLeaseLost)
	_, err := e.st.Status(e.ctx, "b")
	e.ErrorIs(err, tasks.ErrNotFound, "nothing of that has created it")
	e.Equal(want, e.get(e.st, "a"))
}

func force(e *env) {
	for _, from := range statuses {
		for _, to := range statuses {
			id := fmt.Sprint(from, " to ", to)
			e.create(id, tasks.Form, from)
			e.NoError(e.st.Update(e.ctx, id, to, "forced", tasks.Force()), id)
			r := e.get(e.st, id)
			e.Equal(to, r.Status, id)
			e.Equal(`"forced"`, string(r.Raw), id)
		}
	}
}

func retry(e *env) {
	for _, from := range statuses {
		id := string(from)
		e.NoError(e.st.Create(e.ctx, id, tasks.Form))
		e.NoError(e.st.Update(e.ctx, id, from, "kept", tasks.Force()))
		want := e.get(e.st, id)
		e.clock.Add(time.Minute)
		err := e.st.Retry(e.ctx, id)
		if from == tasks.Error {
			e.NoError(err)
			want.Status, want.UpdatedAt, want.EndedAt = tasks.Pending, e.clock.Now(), time.Time{}
		} else {
			var te *tasks.TransitionError
			e.ErrorAs(err, &te, id)
			e.Equal(tasks.TransitionError{ID: id, From: from, To: tasks.Pending}, *te)
		}
		e.Equal(want, e.get(e.st, id))
		e.NoError(e.st.Retry(e.ctx, id, tasks.Force()), id)
		e.Equal(tasks.Pending, e.get(e.st, id).Status)
	}
}

func remove(e *env) {
	for _, s := range statuses {
		e.create(string(s), tasks.Form, s)
	}
	e.create("other", tasks.Form, tasks.Completed)
	for _, s := range statuses {
		e.NoError(e.st.Delete(e.ctx, string(s)))
		e.ErrorIs(e.st.Delete(e.ctx, string(s)), tasks.ErrNotFound)
		_, err := e.st.Result(e.ctx, string(s))
		e.ErrorIs(err, tasks.ErrNotFound)
	}
	e.Equal(tasks.Completed, e.get(e.st, "other").Status)

	// A task that takes the id again has nothing of the old one.
	e.create("again", tasks.Form, tasks.Pending)
	_, err := e.st.Claim(e.ctx, time.Minute)
	e.NoError(err)
	e.NoError(e.st.Update(e.ctx, "again", tasks.Error, "old", tasks.ErrorText("old")))
	e.NoError(e.st.Delete(e.ctx, "again"))
	e.clock.Add(time.Minute)
	e.create("again", tasks.Document, tasks.Pending)
	e.Equal(tasks.Result{Info: tasks.Info{ID: "again", Type: tasks.Document, Status: tasks.Pending, CreatedAt: e.clock.Now()}},
		e.get(e.st, "again"))
	list, err := e.st.Attempts(e.ctx, "again")
	e.NoError(err)
	e.Empty(list)
}

func batches(e *env) {
	errs := e.st.CreateMany(e.ctx, []tasks.NewTask{{ID: "a", Type: tasks.Form}, {ID: "a", Type: tasks.Document}, {ID: "b", Type: tasks.Form}})
	e.Len(errs, 3)
	e.NoError(errs[0])
	e.ErrorIs(errs[1], tasks.ErrExists)
	e.NoError(errs[2])
	e.Equal(tasks.Form, e.get(e.st, "a").Type, "the first of the batch is the one that counts")
	e.clock.Add(time.Minute)
	errs = e.st.UpdateMany(e.ctx, []tasks.NewStatus{
		{ID: "a", Status: tasks.Processing, Result: 1},
		{ID: "a", Status: tasks.Completed, Result: 2},
		{ID: "a", Status: tasks.Processing, Result: 3},
		{ID: "c", Status: tasks.Completed, Result: 4},
		{ID: "b", Status: tasks.Error},
	})
	e.Len(errs, 5)
	e.NoError(errs[0])
	e.NoError(errs[1])
	var te *tasks.TransitionError
	e.ErrorAs(errs[2], &te)
	e.Equal(tasks.TransitionError{ID: "a", From: tasks.Completed, To: tasks.Processing}, *te)
	e.ErrorIs(errs[3], tasks.ErrNotFound)
	e.NoError(errs[4])
	a := e.get(e.st, "a")
	e.Equal(tasks.Completed, a.Status)
	e.Equal("2", string(a.Raw))
	e.Equal(e.clock.Now(), a.UpdatedAt)
	e.Equal(tasks.Error, e.get(e.st, "b").Status)
	e.Nil(e.st.UpdateMany(e.ctx, nil))
	e.Nil(e.st.UpdateMany(e.ctx, []tasks.NewStatus{{ID: "b", Status: tasks.Pending}}, tasks.Force()))
}

// largeBatch is more than a backend may like to do at once.
func largeBatch(e *env) {
	var list []tasks.NewTask
	var done []tasks.NewStatus
	for i := range 1200 {
		id := fmt.Sprintf("%04d", i)
		list = append(list, tasks.NewTask{ID: id, Type: tasks.Form})
		done = append(done, tasks.NewStatus{ID: id, Status: tasks.Completed, Result: i})
	}
	e.Nil(e.st.CreateMany(e.ctx, list))
	done[700].ID = "nobody"
	errs := e.st.UpdateMany(e.ctx, done)
	e.Len(errs, len(done))
	for i, err := range errs {
		if i == 700 {
			e.ErrorIs(err, tasks.ErrNotFound)
		} else {
			e.NoError(err)
		}
	}
	counts, err := e.st.Count(e.ctx)
	e.NoError(err)
	e.Equal(map[tasks.Type]map[tasks.Status]int{tasks.Form: {tasks.Completed: 1199, tasks.Pending: 1}}, counts)
	e.Equal("1199", string(e.get(e.st, "1199").Raw))
}
