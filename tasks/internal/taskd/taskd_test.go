package taskd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/docusnap/asyncvfs/tasks/taskhttp/client"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/stretchr/testify/require"
)

// asTaskd has the test's program be taskd.
const asTaskd = "TASKD_TEST_IS_TASKD"

func TestMain(m *testing.M) {
	if os.Getenv(asTaskd) != "" {
		Main(nil)
	}
	os.Exit(m.Run())
}

func noEnv(string) (string, bool) { return "", false }

// TestConfigErrors: what isn't right is said, with what would be.
func TestConfigErrors(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "tokens.json")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	for _, c := range []struct {
		args, want string
		env        map[string]string
	}{
		{args: "-listen nowhere", want: "want host:port"},
		{args: "-listen :0 -open", want: "want 127.0.0.1"},
		{args: "-listen 0.0.0.0:0 -open", want: "want 127.0.0.1"},
		{args: "-store=", want: "want a path"},
		{args: "-keep 1s", want: "want 0, or 1m"},
		{args: "-grace 2h", want: "want 0 to 1h"},
		{args: "-workers 0", want: "want 1 to 1000"},
		{args: "-rate 0", want: "want more than 0"},
		{args: "-rate NaN", want: "want more than 0"},
		{args: "-folder x", want: "want -demo"},
		{args: "-streams -1", want: "-streams -1: want 0 to 1000000"},
		{args: "-clientstreams 1000001", want: "-clientstreams 1000001: want 0 to 1000000"},
		{args: "-polls many", want: "invalid value"},
		{args: "-clientpolls -5", want: "-clientpolls -5: want 0 to 1000000"},
		{args: "", env: map[string]string{"TASKD_STREAMS": "-1"}, want: "-streams -1: want 0 to 1000000"},
		{args: "-log loud", want: "want debug"},
		{args: "extra", want: "want flags only"},
		{args: "-unknown", want: "not defined"},
		{args: "-tokens /nowhere.json", want: "no such file"},
		{args: "-tokens " + file("[]"), want: "there are none"},
		{args: "-tokens " + file("{"), want: "unexpected"},
		{args: "-tokens " + file(`[{"secret":"0123456789abcdef","right":"read"}]`), want: "unknown field"},
		{args: "-tokens " + file(`[{"secret":"0123456789abcdef","rights":"all"}]`), want: "want read, write or admin"},
		{args: "-open", env: map[string]string{"TASKD_TOKEN": "0123456789abcdef"}, want: "want no tokens"},
		{args: "", env: map[string]string{"TASKD_GRACE": "soon"}, want: `TASKD_GRACE="soon"`},
	} {
		var stderr bytes.Buffer
		_, err := configure(nil, strings.Fields(c.args), func(name string) (string, bool) { v, ok := c.env[name]; return v, ok }, &stderr)
		require.ErrorContains(t, err, c.want, c.args)
	}
	var stderr bytes.Buffer
	for args, want := range map[string]string{
		"-store other://host/db":             "other://",
		"-store postgres://u:secret@host/db": "tasks/postgres/taskd",
		"-store /nowhere/x.db":               "/nowhere/x.db",
		"-tokens " + file(`[{"secret":"short","rights":"admin"}]`) + " -store " + filepath.Join(t.TempDir(), "x.db"): "16 bytes",
	} {
		stderr.Reset()
		require.Equal(t, 1, Run(t.Context(), nil, append(strings.Fields(args), "-listen", "127.0.0.1:0"), noEnv, io.Discard, &stderr), args)
		require.Contains(t, stderr.String(), want)
	}
	require.Equal(t, 2, Run(t.Context(), nil, []string{"extra"}, noEnv, io.Discard, &stderr))
	require.Equal(t, 0, Run(t.Context(), nil, []string{"-help"}, noEnv, io.Discard, &stderr))
	require.Contains(t, stderr.String(), "-store")
}

// TestEnvironment: a variable says what a flag says, and a flag is stronger.
func TestEnvironment(t *testing.T) {
	env := map[string]string{"TASKD_STORE": "a.db", "TASKD_GRACE": "3s", "TASKD_TOKEN": "0123456789abcdef", "TASKD_TYPES": "x, y"}
	c, err := configure(nil, []string{"-grace", "4s"}, func(name string) (string, bool) { v, ok := env[name]; return v, ok }, io.Discard)
	require.NoError(t, err)
	require.Equal(t, "a.db", c.store)
	require.Equal(t, 4*time.Second, c.grace)
	require.Equal(t, []tasks.Type{"x", "y"}, c.types)
	require.Empty(t, c.printed)
	require.Equal(t, taskhttp.Admin, c.tokens[0].Rights)
}

// announced reads where the program serves, and its token.
func announced(t *testing.T, out io.Reader) *client.Client {
	t.Helper()
	in := bufio.NewScanner(out)
	require.True(t, in.Scan())
	url := in.Text()
	require.True(t, in.Scan())
	c, err := client.New(url, client.Token(strings.TrimPrefix(in.Text(), "token: ")), client.Retries(0))
	require.NoError(t, err)
	return c
}

// TestDemo: tasks come and are processed, some fail, and the end is orderly.
func TestDemo(t *testing.T) {
	defer vfs.SetMode(context.Background(), vfs.Async)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.txt"), []byte("some text"), 0o600))
	path := filepath.Join(t.TempDir(), "tasks.db")
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan int)
	var stderr bytes.Buffer
	go func() {
		ended <- Run(ctx, nil, []string{"-demo", "-folder", dir, "-store", path, "-listen", "127.0.0.1:0", "-rate", "100", "-workers", "50"}, noEnv, in, &stderr)
	}()
	c := announced(t, out)
	require.Eventually(t, func() bool {
		s, err := c.Stats(t.Context())
		require.NoError(t, err)
		return s.Counts[tasks.Document][tasks.Completed] > 0 && s.Counts[tasks.Document][tasks.Error] > 0
	}, 30*time.Second, 20*time.Millisecond)
	cancel()
	require.Zero(t, <-ended, stderr.String())
	require.NoFileExists(t, path+"-wal")
	st, err := tasks.Open(t.Context(), path)
	require.NoError(t, err)
	defer st.Close()
	list, err := st.List(t.Context(), tasks.Query{Statuses: []tasks.Status{tasks.Processing}})
	require.NoError(t, err)
	require.Empty(t, list, "what was begun was ended or given back")
}

// TestSignal: SIGTERM answers who waits, and the program ends well.
func TestSignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no such signal")
	}
	cmd := exec.Command(os.Args[0], "-listen", "127.0.0.1:0", "-store", filepath.Join(t.TempDir(), "tasks.db"), "-docusnap")
	cmd.Env = append(os.Environ(), asTaskd+"=1")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	defer cmd.Process.Kill()
	c := announced(t, out)
	_, err = c.Create(t.Context(), taskhttp.NewTask{ID: "a", Type: tasks.Form, Input: json.RawMessage(`1`)})
	require.NoError(t, err)
	resp, err := http.Get(c.URL() + "/api/v1/check_status")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	events := c.Watch(t.Context(), "a")
	waited := make(chan error)
	go func() {
		for _, err := range events {
			if err != nil {
				waited <- err
				return
			}
			cmd.Process.Signal(syscall.SIGTERM)
		}
	}()
	<-waited
	require.NoError(t, cmd.Wait(), stderr.String())
	_, err = http.Get(c.URL())
	require.Error(t, err)
}
