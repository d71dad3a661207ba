//go:build race

package tasks_test

// raceEnabled says that the race detector makes frames larger and everything slower.
const raceEnabled = true
