package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// TestCutBeforeChange: a connection that is lost while a statement is prepared has changed nothing, and the change is made on another one.
func TestCutBeforeChange(t *testing.T) {
	p := newProxy(t, fmt.Sprintf("127.0.0.1:%d", server.Port))
	st, err := postgres.Config{Schema: server.NewSchema()}.Open(t.Context(), fmt.Sprintf("postgres://postgres@%s/postgres", p.Addr()))
	require.NoError(t, err)
	defer st.Close()
	for _, v := range []verdict{cutBefore, cutAfter} {
		var once sync.Once
		hit := false
		p.cut() // new connections know no statement
		p.set(func(data []byte) verdict {
			did := pass
			if strings.Contains(string(data), "did AS (INSERT INTO") {
				once.Do(func() { did, hit = v, true })
			}
			return did
		})
		// The first connection is one that was cut.
		if err := st.Create(t.Context(), fmt.Sprint("a", v), tasks.Form); err != nil {
			require.ErrorIs(t, err, tasks.ErrOutcomeUnknown)
			require.NoError(t, st.Create(t.Context(), fmt.Sprint("b", v), tasks.Form))
		}
		require.True(t, hit, "no statement was prepared")
		p.set(nil)
	}
}

// TestOneLossForAll: when the server has ended all connections, that costs one call its answer, not one for each connection of the pool.
func TestOneLossForAll(t *testing.T) {
	for name, call := range map[string]func(st *tasks.Store, id string) error{
		"create": func(st *tasks.Store, id string) error { return st.Create(t.Context(), id, tasks.Form) },
		"claim": func(st *tasks.Store, _ string) error {
			_, err := st.Claim(t.Context(), time.Minute)
			if errors.Is(err, tasks.ErrNoTask) {
				return nil
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			const conns = 4
			schema := server.NewSchema()
			pc, err := pgxpool.ParseConfig(server.TCP("postgres")) // with a socket, the first write tells
			require.NoError(t, err)
			pc.MinConns, pc.MaxConns = conns, conns
			pc.ConnConfig.RuntimeParams["application_name"] = schema
			pc.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false } // as for those that are used often
			postgres.Prepare(pc)
			pool, err := pgxpool.NewWithConfig(t.Context(), pc)
			require.NoError(t, err)
			defer pool.Close()
			st, err := postgres.Config{Schema: schema}.New(t.Context(), pool)
			require.NoError(t, err)
			defer st.Close()
			require.Eventually(t, func() bool { return pool.Stat().IdleConns() >= conns }, 20*time.Second, time.Millisecond)
			// Each of them knows the statements, and so sends them at once.
			idle := pool.AcquireAllIdle(t.Context())
			for i, conn := range idle {
				conn.Release()
				require.NoError(t, call(st, fmt.Sprint("warm", i)))
				idle[i], err = pool.Acquire(t.Context())
				require.NoError(t, err)
			}
			for _, conn := range idle {
				conn.Release()
			}
			admin, err := pgx.Connect(t.Context(), server.URL("postgres"))
			require.NoError(t, err)
			defer admin.Close(t.Context())
			_, err = admin.Exec(t.Context(), "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name=$1", schema)
			require.NoError(t, err)
			lost := 0
			for i := range 2 * conns {
				if err := call(st, fmt.Sprint(i)); err != nil {
					require.ErrorIs(t, err, tasks.ErrOutcomeUnknown)
					lost++
				}
			}
			require.LessOrEqual(t, lost, 1)
		})
	}
}
