package postgres

import (
	"context"
	"math"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/jackc/pgx/v5"
)

const cacheGet = `SELECT failed, result, coalesce(expires_at>{now}, true), coalesce(lease_until>{now}, false) FROM @task_cache WHERE type=$2 AND key=$3`

// scanEntry reads an entry as it is at the time of the query.
func scanEntry(row pgx.Row) (e tasks.CacheEntry, err error) {
	var failed, fresh, leased bool
	var raw *string
	if err = row.Scan(&failed, &raw, &fresh, &leased); err != nil {
		return e, err
	}
	switch {
	case raw != nil && fresh && failed:
		return tasks.CacheEntry{State: tasks.CacheFailed, Raw: []byte(*raw)}, nil
	case raw != nil && fresh:
		return tasks.CacheEntry{State: tasks.CacheStored, Raw: []byte(*raw)}, nil
	case leased:
		e.State = tasks.CacheLeased
	}
	return e, nil
}

// CacheGet reads an entry.
func (b *backend) CacheGet(ctx context.Context, k tasks.CacheKey) (e tasks.CacheEntry, err error) {
	err = b.read(ctx, func(ctx context.Context) error {
		e, err = scanEntry(b.pool.QueryRow(ctx, b.stmt(cacheGet), b.now(), string(k.Type), k.Key))
		return orNone(err)
	})
	return e, err
}

// CacheClaim inserts a row with the lease, or puts it into one that has expired. What is there else is the answer.
func (b *backend) CacheClaim(ctx context.Context, k tasks.CacheKey, lease string, d time.Duration) (tasks.CacheEntry, error) {
	for {
		ours := false
		if err := b.one(ctx, false, 0, &job{sql: `WITH n AS (SELECT {now} AS ms, $2::text)
			INSERT INTO @task_cache AS c (type, key, created_at, used_at, lease_until, lease) SELECT $3, $4, ms, ms, ms+$6::bigint, $5 FROM n
			ON CONFLICT(type, key) DO UPDATE SET failed=false, result=NULL, expires_at=NULL, used_at=excluded.used_at,
				lease_until=excluded.lease_until, lease=excluded.lease
			WHERE CASE WHEN c.result IS NOT NULL THEN c.expires_at<=excluded.used_at ELSE coalesce(c.lease_until<=excluded.used_at, true) END
			RETURNING 1`, args: []any{string(k.Type), k.Key, lease, d.Milliseconds()}, reset: func() { ours = false }, row: func(pgx.Rows) error {
			ours = true
			return nil
		}}); err != nil {
			return tasks.CacheEntry{}, err
		}
		if ours {
			return tasks.CacheEntry{}, nil
		}
		e, err := b.CacheGet(ctx, k)
		if err != nil || e.State != tasks.CacheMissing {
			return e, err
		}
	}
}

// cacheWrite runs a statement and reports whether it changed anything. Its first arguments are the type, the key and the lease.
func (b *backend) cacheWrite(ctx context.Context, durable bool, bytes int, sql string, args ...any) (bool, error) {
	found := false
	if err := b.one(ctx, durable, bytes, &job{sql: sql, args: args, reset: func() { found = false }, row: func(pgx.Rows) error {
		found = true
		return nil
	}}); err != nil {
		return false, err
	}
	return found, nil
}

// CacheRenew sets when the lease ends.
func (b *backend) CacheRenew(ctx context.Context, k tasks.CacheKey, lease string, d time.Duration) (bool, error) {
	return b.cacheWrite(ctx, false, 0, `WITH n AS (SELECT {now} AS ms, $2::text)
		UPDATE @task_cache SET lease_until=ms+$6::bigint FROM n WHERE type=$3 AND key=$4 AND lease=$5 RETURNING 1`,
		string(k.Type), k.Key, lease, d.Milliseconds())
}

// CacheRelease deletes the row, which has no result.
func (b *backend) CacheRelease(ctx context.Context, k tasks.CacheKey, lease string) error {
	_, err := b.cacheWrite(ctx, false, 0, `WITH n AS (SELECT $1::bigint, $2::text)
		DELETE FROM @task_cache WHERE type=$3 AND key=$4 AND lease=$5 RETURNING 1`, string(k.Type), k.Key, lease)
	return err
}

// CachePut stores an entry and ends the lease.
func (b *backend) CachePut(ctx context.Context, k tasks.CacheKey, lease string, e tasks.CacheEntry, ttl time.Duration, durable bool) (bool, error) {
	var expires *int64
	if ttl > 0 {
		ms := ttl.Milliseconds()
		expires = &ms
	}
	args := []any{string(k.Type), k.Key, string(e.Raw), e.State == tasks.CacheFailed, expires}
	if lease == "" {
		return b.cacheWrite(ctx, durable, len(e.Raw), `WITH n AS (SELECT {now} AS ms, $2::text)
			INSERT INTO @task_cache AS c (type, key, result, failed, created_at, expires_at, used_at, uses) SELECT $3, $4, $5, $6, ms, ms+$7::bigint, ms, 1 FROM n
			ON CONFLICT(type, key) DO UPDATE SET result=excluded.result, failed=excluded.failed, created_at=excluded.created_at,
				expires_at=excluded.expires_at, used_at=excluded.used_at, uses=c.uses+1, lease_until=NULL, lease=NULL RETURNING 1`, args...)
	}
	return b.cacheWrite(ctx, durable, len(e.Raw), `WITH n AS (SELECT {now} AS ms, $2::text)
		UPDATE @task_cache SET result=$5, failed=$6, created_at=ms, expires_at=ms+$7::bigint, used_at=ms, uses=uses+1, lease_until=NULL, lease=NULL
		FROM n WHERE type=$3 AND key=$4 AND lease=$8 RETURNING 1`, append(args, lease)...)
}

// CacheDelete deletes a type in parts, in the order of the keys.
func (b *backend) CacheDelete(ctx context.Context, k tasks.CacheKey, durable bool) error {
	if k.Key != "" {
		_, err := b.cacheWrite(ctx, durable, 0, `WITH n AS (SELECT $1::bigint, $2::text)
			DELETE FROM @task_cache WHERE type=$3 AND key=$4 RETURNING 1`, string(k.Type), k.Key)
		return err
	}
	for last := ""; ; {
		n := 0
		next := last
		if err := b.one(ctx, false, 0, &job{sql: `WITH n AS (SELECT $1::bigint, $2::text), p AS MATERIALIZED (
				SELECT key FROM @task_cache WHERE type=$3 AND key>$4 ORDER BY key LIMIT $5),
			did AS (DELETE FROM @task_cache c USING p WHERE c.type=$3 AND c.key=p.key)
			SELECT count(*), coalesce(max(key), '') FROM p`, args: []any{string(k.Type), last, cleanupPage}, row: func(rows pgx.Rows) error {
			return rows.Scan(&n, &next)
		}}); err != nil {
			return err
		}
		if n < cleanupPage {
			break
		}
		last = next
	}
	if !durable {
		return nil
	}
	return b.Sync(ctx)
}

// CacheUsed adds hits. A result that is gone stays so.
func (b *backend) CacheUsed(ctx context.Context, uses []tasks.CacheUse) error {
	return b.one(ctx, false, 0, &job{sql: `WITH n AS (SELECT $1::bigint, $2::text)
		UPDATE @task_cache c SET uses=c.uses+i.uses, used_at=greatest(c.used_at, i.at)
		FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[]) i(type, key, uses, at) WHERE c.type=i.type AND c.key=i.key`, args: []any{
		column(uses, func(u tasks.CacheUse) string { return string(u.Type) }),
		column(uses, func(u tasks.CacheUse) string { return u.Key }),
		column(uses, func(u tasks.CacheUse) int64 { return int64(u.Uses) }),
		column(uses, func(u tasks.CacheUse) int64 { return u.At.UnixMilli() })}})
}

// CacheSize adds up the lengths.
func (b *backend) CacheSize(ctx context.Context) (size tasks.CacheSize, err error) {
	err = b.read(ctx, func(ctx context.Context) error {
		return b.pool.QueryRow(ctx, b.stmt(`SELECT count(*), coalesce(sum(octet_length(result)), 0)::bigint FROM @task_cache
			WHERE result IS NOT NULL AND coalesce(expires_at>{now}, true)`), b.now()).Scan(&size.Entries, &size.Bytes)
	})
	return size, err
}

// cacheWeight is how much younger a result counts that was used twice as often.
const cacheWeight = time.Hour

// cacheRow is a row to delete.
type cacheRow struct {
	typ, key string
	used     int64
	size     int64
	dead     bool // expired, or the lease of a process that has died
}

// CacheTrim deletes what is dead, and then the results with the smallest used_at + 1h * log2(uses + 1).
// One that was used or claimed since they were looked for is left alone.
func (b *backend) CacheTrim(ctx context.Context, limit tasks.CacheSize) (size tasks.CacheSize, evicted int, err error) {
	size, err = b.CacheSize(ctx)
	if err != nil {
		return size, 0, err
	}
	goal := tasks.CacheSize{Entries: math.MaxInt, Bytes: math.MaxInt64}
	if size.Entries > limit.Entries || size.Bytes > limit.Bytes {
		goal = tasks.CacheSize{Entries: limit.Entries - limit.Entries/16, Bytes: limit.Bytes - limit.Bytes/16}
	}
	rows, err := b.cacheVictims(ctx, size, goal, limit)
	if err != nil {
		return size, 0, err
	}
	for len(rows) > 0 {
		part := rows[:min(len(rows), cleanupPage)]
		rows = rows[len(part):]
		var gone []int
		if err := b.one(ctx, false, 0, &job{sql: `WITH n AS (SELECT {now} AS ms, $2::text),
				did AS (DELETE FROM @task_cache c USING n, unnest($3::text[], $4::text[], $5::bigint[]) WITH ORDINALITY i(type, key, used, ord)
				WHERE c.type=i.type AND c.key=i.key AND c.used_at=i.used AND coalesce(c.lease_until<=ms, true) RETURNING i.ord)
			SELECT ord-1 FROM did`, args: []any{
			column(part, func(r cacheRow) string { return r.typ }), column(part, func(r cacheRow) string { return r.key }),
			column(part, func(r cacheRow) int64 { return r.used })}, reset: func() { gone = nil }, row: func(rows pgx.Rows) error {
			var i int
			err := rows.Scan(&i)
			gone = append(gone, i)
			return err
		}}); err != nil {
			return size, evicted, err
		}
		for _, i := range gone {
			if !part[i].dead {
				evicted++
				size.Entries--
				size.Bytes -= part[i].size
			}
		}
	}
	return size, evicted, nil
}

// cacheVictims returns what to delete to come from a size below the limit, and to the goal if small results do for that.
func (b *backend) cacheVictims(ctx context.Context, size, goal, limit tasks.CacheSize) (victims []cacheRow, err error) {
	const sql = `WITH n AS (SELECT {now} AS ms) SELECT type, key, used_at, coalesce(octet_length(result), 0)::bigint,
			coalesce(expires_at, lease_until, ms+1)<=ms AS dead
		FROM @task_cache, n WHERE result IS NOT NULL OR coalesce(lease_until<=ms, true)
		ORDER BY dead DESC, used_at+$2::float8*ln(uses+1)/ln(2), key`
	err = b.read(ctx, func(ctx context.Context) error {
		victims = nil
		size := size
		rows, err := b.pool.Query(ctx, b.stmt(sql), b.now(), float64(cacheWeight.Milliseconds()))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r cacheRow
			if err := rows.Scan(&r.typ, &r.key, &r.used, &r.size, &r.dead); err != nil {
				return err
			}
			if !r.dead {
				if size.Entries <= goal.Entries && size.Bytes <= goal.Bytes {
					return nil
				}
				if size.Entries <= limit.Entries && size.Bytes <= limit.Bytes && r.size > limit.Bytes-goal.Bytes {
					continue // the limit is kept, and to make some more space isn't worth a result that is larger than that
				}
				size.Entries--
				size.Bytes -= r.size
			}
			victims = append(victims, r)
		}
		return rows.Err()
	})
	return victims, err
}
