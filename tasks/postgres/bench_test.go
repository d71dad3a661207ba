package postgres_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/docusnap/asyncvfs/tasks/postgres/pgtest"
	"github.com/stretchr/testify/require"
)

// BenchmarkLife is create, claim, complete, durable, by several callers.
func BenchmarkLife(b *testing.B) {
	s, err := pgtest.Start()
	require.NoError(b, err)
	defer s.Remove()
	for _, callers := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			st, err := postgres.Config{Schema: s.NewSchema()}.Open(b.Context(), s.URL("postgres"))
			require.NoError(b, err)
			defer st.Close()
			var n atomic.Int64
			b.SetParallelism((callers + 1) / 2)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := st.Create(b.Context(), fmt.Sprint(n.Add(1)), tasks.Form); err != nil {
						b.Error(err)
						return
					}
					c, err := st.Claim(b.Context(), time.Minute, tasks.Form)
					if err != nil {
						b.Error(err)
						return
					}
					if err := st.Complete(b.Context(), c, "done"); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}
