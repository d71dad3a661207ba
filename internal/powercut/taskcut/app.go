package taskcut

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// open opens the application's connection.
func (k *caller) open(r *rand.Rand) bool {
	if k.db != nil {
		return true
	}
	// Where a write may spoil what is beside it, only commits at FULL are safe.
	if k.level = "full"; !k.run.w.checkpointer && k.run.w.powersafe && r.IntN(2) == 0 {
		k.level = "normal"
	}
	var err error
	k.db, err = k.app(k.level)
	return k.run.ok("open the application's connection", err)
}

// transaction changes a document of the application and its task: both or neither.
func (k *caller) transaction(s step, r *rand.Rand) {
	if k.run.w.fresh || !k.open(r) {
		return
	}
	var t *ownTask
	for _, o := range k.own {
		if o.doc && !o.status.Final() {
			t = o
		}
	}
	c := call{what: "transaction", app: true, durable: k.level == "full"}
	to := tasks.Pending
	var text string
	if t == nil {
		t = &ownTask{id: fmt.Sprintf("d-%d", s.n), doc: true}
		c.effect = hasStatus(t.id, to)
	} else if t.status == tasks.Pending {
		to = tasks.Processing
		c.effect = hasStatus(t.id, to)
	} else {
		to = tasks.Completed
		text = k.text(s, r)
		c.result, c.effect = quoted(text), hasResult(t.id, text)
	}
	c.subject, c.asks = t.id, asks(to)
	rollback := r.IntN(6) == 0
	note := t.note
	if to == tasks.Processing {
		c.advance = k.advanceOf(s)
		note = c.advance.Note
		c.effect = hasAdvance(t.id, c.advance)
	}
	if rollback {
		c.effect = nil
	}
	err := k.call(c, func(*call) error {
		tx, err := k.db.BeginTx(background, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(background, "INSERT INTO docs VALUES(?, ?, ?) ON CONFLICT DO UPDATE SET status=excluded.status, note=excluded.note", t.id, string(to), note); err != nil {
			return err
		}
		in, err := k.store.InTx(tx)
		if err != nil {
			return err
		}
		switch to {
		case tasks.Pending:
			err = in.Create(background, t.id, tasks.Document)
		case tasks.Processing:
			if err = in.Update(background, t.id, to, nil); err == nil {
				err = in.Report(background, t.id, c.advance)
			}
		default:
			err = in.Update(background, t.id, to, text)
		}
		if err != nil || rollback {
			return err
		}
		return tx.Commit()
	})
	switch {
	case err != nil:
		k.forget(t)
	case err == nil && !rollback:
		if t.status == "" {
			k.own = append(k.own, t)
		}
		t.status, t.note = to, note
	}
}

func (k *caller) forget(t *ownTask) {
	for i, o := range k.own {
		if o == t {
			k.own = append(k.own[:i], k.own[i+1:]...)
			return
		}
	}
}

func (k *caller) checkpoint(mode string) {
	if !k.open(rand.New(rand.NewPCG(1, 1))) {
		return
	}
	_, err := k.db.ExecContext(background, "PRAGMA wal_checkpoint("+mode+")")
	k.turn()
	k.run.ok("checkpoint", err)
}

// cache uses the cache.
func (k *caller) cache(s step, r *rand.Rand) {
	key := tasks.CacheKey{Type: tasks.Form, Key: fmt.Sprintf("k%d", r.IntN(5))}
	subject := "cache " + key.Key
	text := k.text(s, r)
	opts, durable := k.relaxed(r)
	if opts == nil {
		opts = append(opts, tasks.Durable())
	}
	all := []tasks.CacheOption{tasks.Key(key.Key)}
	for _, o := range opts {
		all = append(all, o)
	}
	switch s.kind {
	case stepWarm:
		k.compute(key, text)
		k.call(call{what: "warm " + key.Key, subject: subject, durable: durable, effect: isCached(key, quoted(text))}, func(*call) error {
			return k.store.Warm(background, key.Type, nil, text, all...)
		})
	case stepInvalidate:
		if r.IntN(5) == 0 {
			k.call(call{what: "invalidate all", subject: "cache", durable: durable, effect: nothingCached}, func(*call) error {
				return k.store.InvalidateType(background, key.Type, opts[0])
			})
			return
		}
		k.call(call{what: "invalidate " + key.Key, subject: subject, durable: durable, effect: notCached(key)}, func(*call) error {
			return k.store.Invalidate(background, key.Type, nil, all...)
		})
	default:
		took := time.Duration(r.Int64N(int64(3 * k.run.w.syncTime)))
		// What a durable call returns is durable, whoever has stored it.
		k.call(call{what: "do " + key.Key, subject: subject, onlyAlone: true}, func(c *call) error {
			mine := false
			got, err := k.store.Do(background, key.Type, nil, func(context.Context) (any, error) {
				mine = true
				time.Sleep(took)
				k.compute(key, text)
				return text, nil
			}, all...)
			if err == nil {
				c.effect = isCached(key, string(got.Raw))
				c.durable, c.reads, c.settles = durable, !mine, durable
				k.returned(key, string(got.Raw))
			}
			return err
		})
	}
}

// compute takes note of a result that is going to be stored.
func (k *caller) compute(key tasks.CacheKey, text string) {
	x := k.run
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.computed[key] == nil {
		x.computed[key] = map[string]bool{}
	}
	x.computed[key][quoted(text)] = true
}

// returned checks a result that the cache has returned.
func (k *caller) returned(key tasks.CacheKey, raw string) {
	x := k.run
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.computed[key][raw] {
		x.violation("the cache returned %.60s for %s, which nothing computed", raw, key.Key)
	}
}
