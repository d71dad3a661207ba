package backendtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// sameData: two stores see the same tasks, and at once what the other has changed.
func sameData(e *env) {
	e.create("a", tasks.Form, tasks.Pending)
	e.Equal(e.get(e.st, "a"), e.get(e.other, "a"))
	e.ErrorIs(e.other.Create(e.ctx, "a", tasks.Document), tasks.ErrExists)
	e.NoError(e.other.Update(e.ctx, "a", tasks.Completed, "done"))
	r := e.get(e.st, "a")
	e.Equal(tasks.Completed, r.Status)
	e.Equal(`"done"`, string(r.Raw))
	e.NoError(e.other.Delete(e.ctx, "a"))
	_, err := e.st.Status(e.ctx, "a")
	e.ErrorIs(err, tasks.ErrNotFound)
}

// workersPerStore is how many goroutines use a store at the same time.
const workersPerStore = 8

// together runs f in goroutines of both stores, which begin at the same time.
func (e *env) together(f func(i int, st Store)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range 2 * workersPerStore {
		wg.Go(func() {
			<-start
			f(i, []Store{e.st, e.other}[i%2])
		})
	}
	close(start)
	wg.Wait()
}

// oneWins: of those who make the same change at the same time, one is told that it was the one.
func oneWins(e *env) {
	for round := range 5 {
		id := fmt.Sprint(round)
		race := func(name string, lost error, change func(i int, st Store) error) (winner int) {
			var errs [2 * workersPerStore]error
			e.together(func(i int, st Store) { errs[i] = change(i, st) })
			winner = -1
			for i, err := range errs {
				if err != nil {
					e.ErrorIs(err, lost, name)
					continue
				}
				e.Equal(-1, winner, "%s: two have won", name)
				winner = i
			}
			e.NotEqual(-1, winner, "%s: nobody has won", name)
			return winner
		}
		race("create", tasks.ErrExists, func(_ int, st Store) error { return st.Create(e.ctx, id, tasks.Form) })
		race("start", tasks.ErrTransition, func(_ int, st Store) error { return st.Update(e.ctx, id, tasks.Processing, nil) })
		n := race("complete", tasks.ErrTransition, func(i int, st Store) error { return st.Update(e.ctx, id, tasks.Completed, i) })
		e.Equal(fmt.Sprint(n), string(e.get(e.st, id).Raw), "the result is the winner's")
		race("delete", tasks.ErrNotFound, func(_ int, st Store) error { return st.Delete(e.ctx, id) })
	}
}

func claimOnce(e *env) {
	const n = 40
	var list []tasks.NewTask
	for i := range n {
		list = append(list, tasks.NewTask{ID: fmt.Sprint(i), Type: []tasks.Type{tasks.Document, tasks.Form}[i%2]})
	}
	e.Nil(e.st.CreateMany(e.ctx, list))
	var mu sync.Mutex
	got, leases := map[string]int{}, map[string]int{}
	var failed error
	e.together(func(_ int, st Store) {
		for range n + 1 {
			c, err := st.Claim(e.ctx, time.Minute)
			if errors.Is(err, tasks.ErrNoTask) {
				return
			}
			mu.Lock()
			failed = errors.Join(failed, err)
			got[c.ID]++
			leases[c.Lease]++
			mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	e.NoError(failed)
	e.Len(got, n)
	e.Len(leases, n, "each has a lease of its own")
	for id, times := range got {
		e.Equal(1, times, "task %s was handed out more than once", id)
	}
}

func claimOldestFirst(e *env) {
	_, err := e.st.Claim(e.ctx, time.Minute)
	e.ErrorIs(err, tasks.ErrNoTask)
	for _, group := range [][]string{{"d", "C"}, {"b", "a"}} {
		for i, id := range group {
			e.create(id, []tasks.Type{tasks.Form, tasks.Document}[i], tasks.Pending)
		}
		e.clock.Add(time.Second)
	}
	for _, s := range statuses[1:] {
		e.create(string(s), tasks.Form, s)
	}
	_, err = e.st.Claim(e.ctx, time.Minute, tasks.FormFilling)
	e.ErrorIs(err, tasks.ErrNoTask)
	c, err := e.st.Claim(e.ctx, time.Minute, tasks.Form)
	e.NoError(err)
	e.Equal("d", c.ID, "the oldest of its type")
	e.Equal(tasks.Info{
		ID: "d", Type: tasks.Form, Status: tasks.Processing, Attempts: 1,
		CreatedAt: e.clock.Now().Add(-2 * time.Second), UpdatedAt: e.clock.Now(), StartedAt: e.clock.Now(),
	}, c.Info)
	e.Equal(c.Info, e.get(e.st, "d").Info)
	e.NotEmpty(c.Lease)
	e.Equal(e.clock.Now().Add(time.Minute), c.LeaseUntil)
	for _, want := range []string{"C", "b", "a"} {
		c, err := e.st.Claim(e.ctx, time.Minute)
		e.NoError(err)
		e.Equal(want, c.ID)
	}
	_, err = e.st.Claim(e.ctx, time.Minute)
	e.ErrorIs(err, tasks.ErrNoTask)
	e.clock.Add(time.Second)
	e.NoError(e.st.Complete(e.ctx, c, "done"))
	r := e.get(e.st, "d")
	e.Equal(tasks.Completed, r.Status)
	e.Equal(`"done"`, string(r.Raw))
	e.Equal(e.clock.Now(), r.UpdatedAt)
}

// leaseExpired: a task comes back when its holder doesn't report, until it has used up its attempts.
func leaseExpired(e *env) {
	e.create("a", tasks.Form, tasks.Pending)
	old, err := e.st.Claim(e.ctx, time.Minute)
	e.NoError(err)
	e.clock.Add(50 * time.Second)
	_, err = e.other.Claim(e.ctx, time.Minute)
	e.ErrorIs(err, tasks.ErrNoTask, "the lease hasn't expired")
	e.NoError(e.st.Extend(e.ctx, &old, time.Minute))
	e.Equal(e.clock.Now().Add(time.Minute), old.LeaseUntil)
	e.clock.Add(59 * time.Second)
	_, err = e.other.Claim(e.ctx, time.Minute)
	e.ErrorIs(err, tasks.ErrNoTask, "the lease was extended")
	e.clock.Add(2 * time.Second)
	_, err = e.other.Claim(e.ctx, time.Minute)
	e.ErrorIs(err, tasks.ErrNoTask, "it is taken back, and waits for its backoff")
	e.Equal(tasks.Pending, e.get(e.st, "a").Status)
	e.clock.Add(time.Minute)
	again, err := e.other.Claim(e.ctx, time.Minute)
	e.NoError(err)
	e.Equal("a", again.ID)
	e.Equal(2, again.Attempts)
	e.NotEqual(old.Lease, again.Lease)
	for _, err := range []error{
		e.st.Extend(e.ctx, &old, time.Minute), e.st.Complete(e.ctx, old, "old"), e.st.Fail(e.ctx, old, errors.New("old")),
	} {
		e.ErrorIs(err, tasks.ErrLeaseLost)
	}
	r := e.get(e.st, "a")
	e.Equal(tasks.Processing, r.Status)
	e.Nil(r.Raw)
	e.clock.Add(61 * time.Second)
	_, err = e.st.Claim(e.ctx, time.Minute)
	e.ErrorIs(err, tasks.ErrNoTask, "there is no attempt left")
	r = e.get(e.other, "a")
	e.Equal(tasks.Error, r.Status)
	e.NotEmpty(r.Error)
	list, err := e.st.Attempts(e.ctx, "a")
	e.NoError(err)
	e.Len(list, 2)
	for i, a := range list {
		e.Equal(i+1, a.Number)
		e.NotEmpty(a.Error)
		e.False(a.EndedAt.Before(a.StartedAt))
	}
}

// leaseLost: a holder can do nothing any more once others have changed its task.
func leaseLost(e *env) {
	for name, change := range map[string]func(id string) error{
		"completed": func(id string) error { return e.other.Update(e.ctx, id, tasks.Completed, "theirs") },
		"restarted": func(id string) error { return e.other.Update(e.ctx, id, tasks.Pending, "theirs", tasks.Force()) },
		"forced":    func(id string) error { return e.other.Update(e.ctx, id, tasks.Processing, "theirs", tasks.Force()) },
		"deleted":   func(id string) error { return e.other.Delete(e.ctx, id) },
	} {
		e.create(name, tasks.Form, tasks.Pending)
		c, err := e.st.Claim(e.ctx, time.Hour)
		e.NoError(err)
		e.Equal(name, c.ID)
		guess := c
		guess.Lease = "guessed"
		e.ErrorIs(e.st.Complete(e.ctx, guess, "mine"), tasks.ErrLeaseLost, "the lease is a secret")
		e.NoError(change(name))
		e.ErrorIs(e.st.Extend(e.ctx, &c, time.Minute), tasks.ErrLeaseLost, name)
		e.ErrorIs(e.st.Complete(e.ctx, c, "mine"), tasks.ErrLeaseLost, name)
		e.ErrorIs(e.st.Fail(e.ctx, c, errors.New("mine")), tasks.ErrLeaseLost, name)
		if name != "deleted" {
			r := e.get(e.st, name)
			e.Equal(`"theirs"`, string(r.Raw), name)
			e.Empty(r.Error, name)
			e.NoError(e.other.Delete(e.ctx, name))
		}
	}
}

// minutes is the backoff of the tests.
func minutes(attempt int) time.Duration { return time.Duration(attempt) * time.Minute }

func attempts(e *env) {
	start := e.clock.Now()
	e.create("a", tasks.Form, tasks.Pending)
	list, err := e.st.Attempts(e.ctx, "a")
	e.NoError(err)
	e.Empty(list)
	c, err := e.st.Claim(e.ctx, time.Hour)
	e.NoError(err)
	e.clock.Add(1500 * time.Millisecond)
	e.NoError(e.st.Fail(e.ctx, c, errors.New("Größe?")))
	info := e.get(e.st, "a").Info
	e.Equal(tasks.Pending, info.Status)
	e.Equal("Größe?", info.Error)
	e.Equal(1, info.Attempts)
	e.ErrorIs(e.st.Complete(e.ctx, c, 1), tasks.ErrLeaseLost, "it has been reported")
	e.clock.Add(59 * time.Second)
	_, err = e.st.Claim(e.ctx, time.Hour)
	e.ErrorIs(err, tasks.ErrNoTask, "the backoff isn't over")
	e.clock.Add(2 * time.Second)
	c, err = e.st.Claim(e.ctx, time.Hour)
	e.NoError(err)
	e.Equal(2, c.Attempts)
	second := e.clock.Now()
	list, err = e.st.Attempts(e.ctx, "a")
	e.NoError(err)
	want := []tasks.Attempt{
		{Number: 1, StartedAt: start, EndedAt: start.Add(1500 * time.Millisecond), Error: "Größe?"},
		{Number: 2, StartedAt: second},
	}
	e.Equal(want, list, "the second one hasn't ended")
	e.NoError(e.st.Fail(e.ctx, c, errors.New("again")))
	e.Equal(tasks.Error, e.get(e.st, "a").Status, "that was the last attempt")
	e.clock.Add(time.Hour)
	_, err = e.st.Claim(e.ctx, time.Hour)
	e.ErrorIs(err, tasks.ErrNoTask)
	// Retry gives it one more.
	e.NoError(e.st.Retry(e.ctx, "a"))
	c, err = e.st.Claim(e.ctx, time.Hour)
	e.NoError(err)
	third := e.clock.Now()
	e.NoError(e.st.Complete(e.ctx, c, "done"))
	list, err = e.st.Attempts(e.ctx, "a")
	e.NoError(err)
	want[1].EndedAt, want[1].Error = second, "again"
	e.Equal(append(want, tasks.Attempt{Number: 3, StartedAt: third, EndedAt: third}), list)
	e.Equal(`"done"`, string(e.get(e.st, "a").Raw))
}

// workers: a worker that waits gets a task that the other store creates.
func workers(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	done := make(chan error, 1)
	go func() {
		done <- e.st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Form: func(_ context.Context, t tasks.Info) (any, error) {
			return "did " + t.ID, nil
		}}, 2)
	}()
	defer cancel()
	e.NoError(e.other.Create(e.ctx, "a", tasks.Form))
	e.NoError(e.other.Create(e.ctx, "not mine", tasks.Document))
	r, err := e.other.Wait(e.ctx, "a")
	e.NoError(err)
	e.Equal(`"did a"`, string(r.Raw))
	cancel()
	e.NoError(<-done)
	e.Equal(tasks.Pending, e.get(e.st, "not mine").Status)
}
