package rulestest

import (
	"bufio"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

// TestTaskd: what the program taskd serves at /metrics by itself, Prometheus can read, and it has the names and labels that this module's
// instruments have: the alert rules hold for both.
func TestTaskd(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no signal that ends it")
	}
	program := filepath.Join(t.TempDir(), "taskd")
	build := exec.Command("go", "build", "-o", program, "github.com/docusnap/asyncvfs/tasks/taskd")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "a.txt"), []byte("some text"), 0o600))
	cmd := exec.Command(program, "-listen", "127.0.0.1:0", "-store", filepath.Join(t.TempDir(), "tasks.db"), "-demo", "-folder", folder, "-rate", "100", "-open")
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() {
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.NoError(t, cmd.Wait())
	}()
	in := bufio.NewScanner(pipe)
	require.True(t, in.Scan())
	url := in.Text() + "metrics"

	ours := known(scraped(t))
	var names map[string]map[string]bool
	require.Eventually(t, func() bool {
		names = known([scrapes][]sample{scrape(t, url)})
		return names["tasks_attempt_duration_seconds_bucket"] != nil // a worker has ended an attempt
	}, 30*time.Second, 100*time.Millisecond)
	for name, its := range names {
		if strings.HasPrefix(name, "taskd_") {
			continue // its own
		}
		require.Contains(t, ours, name)
		for label := range its {
			require.True(t, ours[name][label] || label == "error_type", "%s has the label %s only in taskd", name, label)
		}
	}
	groups, errs := rulefmt.ParseFile("../prometheus/alerts.yml", false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	require.Empty(t, errs)
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			requireKnown(t, names, r.Expr)
		}
	}
}
