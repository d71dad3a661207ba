//go:build !race

package tasks_test

const raceEnabled = false

func sized(n, _ int) int { return n }
