// Package foreign is for what other programs have written into the tables of tasks.
package foreign

import "math"

// Number returns 0 for what JSON has no number for: infinities, and what isn't a number. Package tasks writes neither.
func Number(f float64) float64 {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return 0
	}
	return f
}
