package bench

import (
	"database/sql"
	"fmt"
	"testing"

	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/stretchr/testify/require"
)

// BenchmarkContexts runs inserts through database/sql, with contexts that can be cancelled beside such that can't,
// and reports the ratios of each pair of runs.
func BenchmarkContexts(b *testing.B) {
	for _, conns := range []int{1, 8, 64} {
		for _, level := range []string{"full", "normal"} {
			w, s := Workload{Insert, 1, 100, conns}, Setup{"async", "real", level}
			b.Run(fmt.Sprintf("%s/level=%s", w, level), func(b *testing.B) {
				run := func(opener func(*sql.DB) Opener) (r Result) {
					require.NoError(b, registerDisks())
					dir := b.TempDir()
					db, err := sql.Open("sqlite3", s.DSN(dir))
					require.NoError(b, err)
					defer db.Close()
					db.SetMaxIdleConns(-1)
					r, err = Run(b.Context(), w, level, timing(), dir, opener(db))
					require.NoError(b, err)
					return r
				}
				for b.Loop() {
					var sp Spread
					for i := range pairs() {
						var with, without Result
						if i%2 == 0 {
							with, without = run(SQL), run(withoutContexts)
						} else {
							without, with = run(withoutContexts), run(SQL)
						}
						sp.Beside(with, without)
					}
					sp.Report(b)
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
