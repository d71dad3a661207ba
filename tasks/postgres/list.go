package postgres

import (
	"context"
	"strconv"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/jackc/pgx/v5"
)

// kinds finds which types and statuses there are, by a step into an index for each. Its arguments are the owner, types and statuses, or NULL.
func kinds(owned bool) string {
	where := ""
	if owned {
		where = "owner<>'' AND owner=$1 AND "
	}
	next := func(after string) string {
		return "SELECT type, status FROM @tasks WHERE " + where + after + " ORDER BY type, status LIMIT 1"
	}
	return `WITH RECURSIVE k(type, status) AS ((` + next("true") + `)
		UNION ALL SELECT x.type, x.status FROM k CROSS JOIN LATERAL (` + next("(type, status)>(k.type, k.status)") + `) x),
	w AS (SELECT type, status FROM k WHERE $1::text IS NOT NULL AND ($2::text[] IS NULL OR type=ANY($2)) AND ($3::text[] IS NULL OR status=ANY($3)))`
}

// listSQL returns the query of a list, and its arguments. It walks an index in the list's order; of types and statuses it walks
// a part of it for each, so that none walks past tasks that aren't asked for.
func listSQL(q tasks.Query) (string, []any) {
	args := []any{q.Owner, strs(q.Types), strs(q.Statuses), q.Limit}
	order, after := "", ">"
	if q.Newest {
		order, after = " DESC", "<"
	}
	page := func(table string) string { return "" }
	if q.After.ID != "" {
		args = append(args, q.After.CreatedAt.Unix(), q.After.ID)
		page = func(table string) string {
			return " AND (" + table + "created_at, " + table + "id)" + after + "($5, $6)"
		}
	}
	by := func(table string) string {
		return " ORDER BY " + table + "created_at" + order + ", " + table + "id" + order + " LIMIT $4"
	}
	switch {
	case q.Label[0] != "":
		n := len(args)
		args = append(args, q.Label[0], q.Label[1])
		return "SELECT " + infoColumnsT + " FROM @task_labels l CROSS JOIN LATERAL (SELECT * FROM @tasks t WHERE t.id=l.id OFFSET 0) t WHERE l.name=$" + strconv.Itoa(n+1) +
			" AND l.value=$" + strconv.Itoa(n+2) + page("l.") + " AND ($1='' OR t.owner=$1) AND ($2::text[] IS NULL OR t.type=ANY($2))" +
			" AND ($3::text[] IS NULL OR t.status=ANY($3))" + by("l."), args
	case q.Owner == "" && len(q.Types) == 0 && len(q.Statuses) == 0:
		return "SELECT " + infoColumns + " FROM @tasks WHERE $1::text IS NOT NULL AND $2::text[] IS NULL AND $3::text[] IS NULL" + page("") + by(""), args
	}
	where := "t.type=w.type AND t.status=w.status"
	if q.Owner != "" {
		where = "t.owner<>'' AND t.owner=$1 AND " + where
	}
	return kinds(q.Owner != "") + " SELECT x.* FROM w CROSS JOIN LATERAL (SELECT " + infoColumnsT + " FROM @tasks t WHERE " + where + page("t.") + by("t.") + ") x" + by("x."), args
}

func strs[S ~string](list []S) []string {
	if len(list) == 0 {
		return nil
	}
	return column(list, func(s S) string { return string(s) })
}

// List is one query.
func (b *backend) List(ctx context.Context, q tasks.Query) (list []tasks.Info, err error) {
	sql, args := listSQL(q)
	err = b.read(ctx, func(ctx context.Context) error {
		rows, err := b.pool.Query(ctx, b.stmt(sql), args...)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, scanInfo)
		return err
	})
	return list, err
}

func countSQL(owned bool) string {
	if owned {
		return "SELECT type, status, count(*) FROM @tasks WHERE owner<>'' AND owner=$1 GROUP BY type, status"
	}
	return "SELECT type, status, count(*) FROM @tasks WHERE $1='' GROUP BY type, status"
}

// Count reads an index, as long as it is: to count all the time would have all changes wait for the same row.
func (b *backend) Count(ctx context.Context, owner string) (counts map[tasks.Type]map[tasks.Status]int, err error) {
	err = b.read(ctx, func(ctx context.Context) error {
		counts = map[tasks.Type]map[tasks.Status]int{}
		rows, err := b.pool.Query(ctx, b.stmt(countSQL(owner != "")), owner)
		if err != nil {
			return err
		}
		var t, s string
		var n int
		_, err = pgx.ForEachRow(rows, []any{&t, &s, &n}, func() error {
			if counts[tasks.Type(t)] == nil {
				counts[tasks.Type(t)] = map[tasks.Status]int{}
			}
			counts[tasks.Type(t)][tasks.Status(s)] = n
			return nil
		})
		return err
	})
	return counts, err
}
