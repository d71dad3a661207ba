package tasks

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// cacheEntry reads an entry as it is at a time.
func cacheEntry(c *conn, k CacheKey, now int64) (e CacheEntry, err error) {
	const sql = "SELECT result, coalesce(expires_at>?3, true), coalesce(lease_until>?3, false) FROM task_cache WHERE type=?1 AND key=?2"
	s, err := c.statement(sql)
	if err != nil {
		return e, err
	}
	defer c.done(sql, s)
	bind(s, []any{string(k.Type), k.Key, now})
	if !s.Step() {
		return e, s.Err()
	}
	if s.ColumnType(0) != sqlite3.NULL && s.ColumnBool(1) {
		e = entryOf(s.ColumnText(0))
	} else if s.ColumnBool(2) {
		e.State = CacheLeased
	}
	return e, nil
}

// entryOf returns the entry of a column of results.
func entryOf(text string) CacheEntry {
	if raw, failed := strings.CutPrefix(text, cacheFailed); failed {
		return CacheEntry{CacheFailed, []byte(raw)}
	}
	return CacheEntry{CacheStored, []byte(text)}
}

// cacheFailed begins an error's text in the column of results. No JSON begins with it.
const cacheFailed = "!"

// CacheGet reads an entry.
func (b *sqliteBackend) CacheGet(ctx context.Context, k CacheKey) (e CacheEntry, err error) {
	if err := b.settleClock(ctx); err != nil {
		return e, err
	}
	err = b.read(ctx, func(r *reader) (err error) {
		e, err = cacheEntry(r.conn, k, b.now().UnixMilli())
		return err
	})
	return e, err
}

// cacheWrite runs a statement and reports whether it changed anything.
func (b *sqliteBackend) cacheWrite(ctx context.Context, durable bool, sql string, args ...any) (bool, error) {
	n := 0
	// If it fails, the job may still run: n isn't looked at.
	bytes := 0
	for _, a := range args {
		if text, ok := a.(string); ok {
			bytes += len(text)
		}
	}
	if err := b.largeJob(ctx, durable, bytes, func(c *conn) (err error) {
		n, err = execute(c, sql, args)
		return err
	}); err != nil {
		return false, err
	}
	return n > 0, nil
}

// CacheClaim takes the lease, and deletes a result that has expired.
func (b *sqliteBackend) CacheClaim(ctx context.Context, k CacheKey, lease string, d time.Duration) (CacheEntry, error) {
	if err := b.settleClock(ctx); err != nil {
		return CacheEntry{}, err
	}
	var found CacheEntry
	if err := b.job(ctx, false, func(c *conn) (err error) {
		now := b.now()
		if found, err = cacheEntry(c, k, now.UnixMilli()); err != nil || found.State != CacheMissing {
			return err
		}
		_, err = execute(c, `INSERT INTO task_cache(type, key, created_at, used_at, leased_at, lease_until, lease) VALUES(?1, ?2, ?3, ?3, ?3, ?4, ?5)
			ON CONFLICT DO UPDATE SET result=NULL, expires_at=NULL, used_at=?3, leased_at=?3, lease_until=?4, lease=?5`,
			[]any{string(k.Type), k.Key, now.UnixMilli(), now.Add(d).UnixMilli(), lease})
		return err
	}); err != nil {
		return CacheEntry{}, err
	}
	return found, nil
}

// CacheRenew sets when the lease ends.
func (b *sqliteBackend) CacheRenew(ctx context.Context, k CacheKey, lease string, d time.Duration) (bool, error) {
	if err := b.settleClock(ctx); err != nil {
		return false, err
	}
	now := b.now()
	return b.cacheWrite(ctx, false, "UPDATE task_cache SET lease_until=?4, leased_at=?5 WHERE type=?1 AND key=?2 AND lease=?3",
		string(k.Type), k.Key, lease, now.Add(d).UnixMilli(), now.UnixMilli())
}

// CacheRelease deletes the row, which has no result.
func (b *sqliteBackend) CacheRelease(ctx context.Context, k CacheKey, lease string) error {
	_, err := b.cacheWrite(ctx, false, "DELETE FROM task_cache WHERE type=?1 AND key=?2 AND lease=?3", string(k.Type), k.Key, lease)
	return err
}

// CachePut stores an entry and ends the lease.
func (b *sqliteBackend) CachePut(ctx context.Context, k CacheKey, lease string, e CacheEntry, ttl time.Duration, durable bool) (bool, error) {
	now := b.now()
	text := string(e.Raw)
	if e.State == CacheFailed {
		text = cacheFailed + text
	}
	var expires any // unbound, it is NULL
	if ttl > 0 {
		expires = now.Add(ttl).UnixMilli()
	}
	args := []any{string(k.Type), k.Key, text, now.UnixMilli(), expires}
	const set = "SET result=?3, created_at=?4, expires_at=?5, used_at=?4, uses=uses+1, lease_until=NULL, lease=NULL"
	if lease == "" {
		return b.cacheWrite(ctx, durable, `INSERT INTO task_cache(type, key, result, created_at, expires_at, used_at, uses)
			VALUES(?1, ?2, ?3, ?4, ?5, ?4, 1) ON CONFLICT DO UPDATE `+set, args...)
	}
	return b.cacheWrite(ctx, durable, "UPDATE task_cache "+set+" WHERE type=?1 AND key=?2 AND lease=?6", append(args, lease)...)
}

// CacheDelete deletes a type in parts, in the order of the keys, which it looks for without the write lock.
func (b *sqliteBackend) CacheDelete(ctx context.Context, k CacheKey, durable bool) error {
	const byKey = "DELETE FROM task_cache WHERE type=?1 AND key=?2"
	if k.Key != "" {
		_, err := b.cacheWrite(ctx, durable, byKey, string(k.Type), k.Key)
		return err
	}
	last := ""
	for more := true; more; {
		var keys []string
		if err := b.query(ctx, "SELECT key FROM task_cache WHERE type=? AND key>? AND typeof(key)='text' ORDER BY key LIMIT ?",
			[]any{string(k.Type), last, cleanupPage}, func(s *sqlite3.Stmt) error {
				keys = append(keys, s.ColumnText(0))
				return nil
			}); err != nil {
			return err
		}
		if err := b.inParts(ctx, byKey, len(keys), func(i int) []any { return []any{string(k.Type), keys[i]} }, func(int) {}); err != nil {
			return err
		}
		if more = len(keys) == cleanupPage; more {
			last = keys[len(keys)-1]
		}
	}
	if !durable {
		return nil
	}
	return b.Sync(ctx)
}

// CacheUsed adds hits. A result that is gone stays so.
func (b *sqliteBackend) CacheUsed(ctx context.Context, uses []CacheUse) error {
	return b.job(ctx, false, func(c *conn) error {
		for _, u := range uses {
			_, err := execute(c, "UPDATE task_cache SET uses=uses+?3, used_at=max(used_at, ?4) WHERE type=?1 AND key=?2",
				[]any{string(u.Type), u.Key, u.Uses, u.At.UnixMilli()})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// CacheSize adds up the lengths, which SQLite knows without reading the results.
func (b *sqliteBackend) CacheSize(ctx context.Context) (size CacheSize, err error) {
	err = b.query(ctx, `SELECT count(*), coalesce(sum(octet_length(result)), 0) FROM task_cache
		WHERE result IS NOT NULL AND coalesce(expires_at>?1, true)`, []any{b.now().UnixMilli()}, func(s *sqlite3.Stmt) error {
		size = CacheSize{s.ColumnInt(0), s.ColumnInt64(1)}
		return nil
	})
	return size, err
}

// cacheWeight is how much younger a result counts that was used twice as often.
const cacheWeight = time.Hour

// cacheRow is a row to delete.
type cacheRow struct {
	key  CacheKey
	used int64
	size int64
	dead bool // expired, or the lease of a process that has died
}

// CacheTrim deletes what is dead, and then the results with the smallest used_at + 1h * log2(uses + 1).
// The rows are found without the write lock; one that was used or claimed since is left alone.
func (b *sqliteBackend) CacheTrim(ctx context.Context, limit CacheSize) (size CacheSize, evicted int, err error) {
	size, err = b.CacheSize(ctx)
	if err != nil {
		return size, 0, err
	}
	goal := CacheSize{math.MaxInt, math.MaxInt64}
	if size.Entries > limit.Entries || size.Bytes > limit.Bytes {
		goal = CacheSize{limit.Entries - limit.Entries/16, limit.Bytes - limit.Bytes/16}
	}
	now := b.now().UnixMilli()
	rows, err := b.cacheVictims(ctx, now, size, goal, limit)
	if err != nil {
		return size, 0, err
	}
	err = b.inParts(ctx, "DELETE FROM task_cache WHERE type=?1 AND key=?2 AND used_at=?3 AND coalesce(lease_until<=?4, true)", len(rows),
		func(i int) []any {
			return []any{string(rows[i].key.Type), rows[i].key.Key, rows[i].used, now}
		}, func(i int) {
			if r := rows[i]; !r.dead {
				evicted++
				size.Entries--
				size.Bytes -= r.size
			}
		})
	return size, evicted, err
}

// cacheVictims returns what to delete to come from a size below the limit, and to the goal if small results do for that.
func (b *sqliteBackend) cacheVictims(ctx context.Context, now int64, size, goal, limit CacheSize) (rows []cacheRow, err error) {
	err = b.read(ctx, func(r *reader) error {
		s, _, err := r.conn.Prepare(`SELECT type, key, used_at, coalesce(octet_length(result), 0), coalesce(expires_at, lease_until, ?1+1)<=?1 AS dead
			FROM task_cache WHERE result IS NOT NULL OR coalesce(lease_until<=?1, true)
			ORDER BY dead DESC, used_at + ?2*log2(uses+1), key`)
		if err != nil {
			return err
		}
		defer s.Close()
		bind(s, []any{now, cacheWeight.Milliseconds()})
		for s.Step() {
			r := cacheRow{CacheKey{Type(s.ColumnText(0)), s.ColumnText(1)}, s.ColumnInt64(2), s.ColumnInt64(3), s.ColumnBool(4)}
			if !r.dead {
				if size.Entries <= goal.Entries && size.Bytes <= goal.Bytes {
					break
				}
				if size.Entries <= limit.Entries && size.Bytes <= limit.Bytes && r.size > limit.Bytes-goal.Bytes {
					continue // the limit is kept, and to make some more space isn't worth a result that is larger than that
				}
				size.Entries--
				size.Bytes -= r.size
			}
			rows = append(rows, r)
		}
		return s.Err()
	})
	return rows, err
}
