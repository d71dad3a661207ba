// Package testengine lets the processes that a test starts share what the engine has compiled.
package testengine

import "testing"

// dirEnv names the environment variable that tells a process the folder.
const dirEnv = "ASYNCVFS_TEST_ENGINE"

// Share is for a test that starts several processes: on wazero each would compile SQLite anew,
// which takes seconds with the race detector. They must import this package.
func Share(t *testing.T) {
	if compiles {
		t.Setenv(dirEnv, t.TempDir())
	}
}
