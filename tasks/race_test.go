//go:build race

package tasks_test

// raceEnabled says that the race detector makes frames larger and everything slower.
const raceEnabled = true

// sized returns how many of something a test has: fewer with the race detector, which makes SQLite ten times slower.
func sized(_, withRace int) int { return withRace }
