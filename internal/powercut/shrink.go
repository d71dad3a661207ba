package powercut

// Shrink leaves out steps as long as something stays as it is, and returns which.
// Left out says whether it does without these steps.
func Shrink(steps []int, leftOut func(drop []int) bool) (drop []int) {
	for size := (len(steps) + 1) / 2; size > 0; size /= 2 {
		for from := 0; from < len(steps); {
			to := min(from+size, len(steps))
			try := append(drop[:len(drop):len(drop)], steps[from:to]...)
			if leftOut(try) {
				drop = try
				steps = append(steps[:from:from], steps[to:]...)
			} else {
				from = to
			}
		}
	}
	return drop
}
