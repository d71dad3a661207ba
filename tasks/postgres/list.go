package postgres

import (
	"context"
	"strconv"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/jackc/pgx/v5"
)

// kinds finds which types and statuses there are among the rows of a table that meet a condition, by a step into an index for each.
// Its arguments are the owner, types and statuses, or NULL.
func kinds(table, where string) string {
	next := func(after string) string {
		return "SELECT type, status FROM " + table + " WHERE " + where + after + " ORDER BY type, status LIMIT 1"
	}
	return `WITH RECURSIVE k(type, status) AS ((` + next("true") + `)
		UNION ALL SELECT x.type, x.status FROM k CROSS JOIN LATERAL (` + next("(type, status)>(k.type, k.status)") + `) x),
	w AS (SELECT type, status FROM k WHERE $1::text IS NOT NULL AND ($2::text[] IS NULL OR type=ANY($2)) AND ($3::text[] IS NULL OR status=ANY($3)))`
}

// ofOwner is the condition of an owner's tasks, whose indexes have no others.
func ofOwner(owned bool) string {
	if owned {
		return "owner<>'' AND owner=$1 AND "
	}
	return ""
}

// listSQL returns the query of a list, and its arguments. It walks an index in the list's order, of tasks or of labels;
// of types and statuses it walks a part of it for each, so that none walks past tasks that aren't asked for.
func listSQL(q tasks.Query) (string, []any) {
	args := []any{q.Owner, strs(q.Types), strs(q.Statuses), q.Limit}
	arg := func(a any) string {
		args = append(args, a)
		return "$" + strconv.Itoa(len(args))
	}
	order, after := "", ">"
	if q.Newest {
		order, after = " DESC", "<"
	}
	by := func(table string) string {
		return " ORDER BY " + table + "created_at" + order + ", " + table + "id" + order + " LIMIT $4"
	}
	page := ""
	if q.After.ID != "" {
		page = " AND (created_at, id)" + after + "(" + arg(q.After.CreatedAt.Unix()) + ", " + arg(q.After.ID) + ")"
	}
	labelled := q.Label[0] != ""
	table, columns, where := "@tasks", infoColumns, ""
	if labelled {
		table, columns, where = "@task_labels", "created_at, id", "name="+arg(q.Label[0])+" AND value="+arg(q.Label[1])+" AND "
	}
	var list string
	if q.Owner == "" && len(q.Types) == 0 && len(q.Statuses) == 0 {
		list = "SELECT " + columns + " FROM " + table + " WHERE " + where +
			"$1::text IS NOT NULL AND $2::text[] IS NULL AND $3::text[] IS NULL" + page + by("")
	} else {
		where += ofOwner(q.Owner != "")
		list = kinds(table, where) + " SELECT x.* FROM w CROSS JOIN LATERAL (SELECT " + columns + " FROM " + table +
			" WHERE " + where + "type=w.type AND status=w.status" + page + by("") + ") x" + by("x.")
	}
	if labelled {
		list = "SELECT " + infoColumnsT + " FROM (" + list + ") i CROSS JOIN LATERAL (SELECT * FROM @tasks t WHERE t.id=i.id OFFSET 0) t" + by("i.")
	}
	return list, args
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
