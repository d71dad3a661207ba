//go:build !race

package taskhttp_test

const raceEnabled = false
