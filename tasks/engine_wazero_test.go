//go:build wazero

package tasks_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// codeDir names the folder that SQLite's machine code is kept in: to compile it takes seconds, and many with the race detector,
// which only the first process has to spend.
const codeDir = "TASKS_WAZERO_CODE"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir := os.Getenv(codeDir)
	if dir == "" {
		made, err := os.MkdirTemp("", "tasks-wazero")
		if err == nil {
			err = os.Setenv(codeDir, made)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(made)
		dir = made
	}
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	sqlite3.RuntimeConfig = wazero.NewRuntimeConfig().WithMemoryLimitPages(4096).
		WithCoreFeatures(api.CoreFeaturesV2).WithCompilationCache(cache)
	return m.Run()
}
