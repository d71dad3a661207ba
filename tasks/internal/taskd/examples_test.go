package taskd

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExamples: what the unit for systemd and the container file set is what the program knows and allows, and systemd, where it is there,
// understands the unit.
func TestExamples(t *testing.T) {
	dir := filepath.Join("..", "..", "taskd")
	tokens := filepath.Join(t.TempDir(), "tokens.json")
	require.NoError(t, os.WriteFile(tokens, []byte(`[{"secret":"0123456789abcdef","rights":"admin"}]`), 0o600))
	for name, variables := range map[string]int{"taskd.service": 4, "Containerfile": 2} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		env := map[string]string{}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			for _, m := range regexp.MustCompile(`(TASKD_\w+)=(\S+)`).FindAllStringSubmatch(line, -1) {
				env[m[1]] = strings.ReplaceAll(m[2], "%d/tokens.json", tokens)
			}
		}
		require.Len(t, env, variables, name)
		asked := map[string]bool{}
		_, err = configure(nil, nil, func(name string) (string, bool) { asked[name] = true; v, ok := env[name]; return v, ok }, io.Discard)
		require.NoError(t, err, name)
		for variable := range env {
			require.True(t, asked[variable], "%s: %s says nothing to the program", name, variable)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("there is no systemd-analyze: the unit isn't looked at")
		return
	}
	unit, err := os.ReadFile(filepath.Join(dir, "taskd.service"))
	require.NoError(t, err)
	program, err := filepath.Abs(os.Args[0]) // one that is there
	require.NoError(t, err)
	copied := filepath.Join(t.TempDir(), "taskd.service")
	require.NoError(t, os.WriteFile(copied, []byte(strings.Replace(string(unit), "/usr/local/bin/taskd", program, 1)), 0o600))
	out, err := exec.Command(analyze, "verify", "--man=no", copied).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "taskd.service", "it says something of other units at most")
}
