package powercut

import (
	"fmt"
	"testing"
)

func TestDeterminism(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range Kinds() {
		same := 0
		for seed := range 20 {
			var sums [2]string
			for i := range sums {
				x, err := runPlan(t, Plan{Kind: kind, Seed: uint64(seed)}, 0, dir)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range x.trace {
					sums[i] += fmt.Sprint(e.Kind, e.File, e.Name, e.Off, len(e.Data), e.Time, e.Note, "\n")
				}
			}
			if sums[0] == sums[1] {
				same++
			}
		}
		t.Log(kind, same, "of 20")
	}
}
