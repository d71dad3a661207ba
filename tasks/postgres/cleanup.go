package postgres

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/jackc/pgx/v5"
)

// Use leaves out tasks that have gone.
func (b *backend) Use(ctx context.Context, at map[string]time.Time) error {
	var ids []string
	var used []int64
	for id := range at {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		used = append(used, at[id].Unix())
	}
	return b.one(ctx, false, 0, &job{sql: `WITH n AS (SELECT $1::bigint, $2::text)
		INSERT INTO @task_uses AS u (id, used_at) SELECT t.id, i.at FROM unnest($3::text[], $4::bigint[]) i(id, at) JOIN @tasks t ON t.id=i.id
		ON CONFLICT(id) DO UPDATE SET used_at=greatest(u.used_at, excluded.used_at)`, args: []any{ids, used}})
}

// cleanupPage is how many tasks are deleted at once.
const cleanupPage = 500

func cleanupSQL(q tasks.CleanupQuery) string {
	owned := q.Owner != ""
	where := "t.type=w.type AND t.status=w.status AND t.created_at<=(SELECT ms/1000 FROM n)-$5::bigint"
	if owned {
		where = "t.owner<>'' AND t.owner=$1 AND " + where
	}
	if q.ByUse {
		where += " AND NOT EXISTS(SELECT 1 FROM @task_uses u WHERE u.id=t.id AND u.used_at>(SELECT ms/1000 FROM n)-$5::bigint)"
	}
	// The owner is $1 of kinds, and the time the sixth argument here.
	return kinds("@tasks", ofOwner(owned)) + strings.ReplaceAll(`, n AS (SELECT {now} AS ms),
	old AS MATERIALIZED (SELECT x.id FROM w CROSS JOIN LATERAL (SELECT t.id FROM @tasks t WHERE `+where+`
		ORDER BY t.created_at, t.id LIMIT $6 FOR UPDATE SKIP LOCKED) x LIMIT $6),
	did AS (DELETE FROM @tasks t USING old WHERE t.id=old.id RETURNING t.id),
	log AS (INSERT INTO @task_changes(xid, writer, ids) SELECT pg_current_xact_id()::text::bigint, $4, array_agg(id) FROM did HAVING count(*)>0)
	SELECT count(*) FROM did`, "{now}", strings.ReplaceAll(nowMS, "$1", "$7"))
}

// Cleanup deletes in parts. A task that somebody changes at the same time is left for the next part.
func (b *backend) Cleanup(ctx context.Context, q tasks.CleanupQuery) (deleted int, err error) {
	if err := b.enter(ctx); err != nil {
		return 0, err
	}
	defer b.leave()
	sql := cleanupSQL(q)
	for {
		n := 0
		err := b.again(func(context.Context) error {
			call, cancel := context.WithTimeout(ctx, b.timeout)
			defer cancel()
			if err := ctx.Err(); err != nil {
				return &notSentError{err}
			}
			return b.relaxedly(call, step{sql: sql,
				args: []any{q.Owner, []string(nil), strs(q.Statuses), b.name(), int64(q.Age / time.Second), cleanupPage, b.now()},
				row:  func(rows pgx.Rows) error { return rows.Scan(&n) }})
		})
		if ctx.Err() != nil {
			return deleted, ctx.Err()
		}
		if err != nil {
			return deleted, err
		}
		deleted += n
		if n == 0 {
			break
		}
		b.notifier.everybody()
	}
	if deleted == 0 {
		return 0, nil
	}
	return deleted, b.durable.do(ctx, &request{sync: true})[0]
}
