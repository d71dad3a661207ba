//go:build unix

package vfs_test

import (
	"bufio"
	"fmt"
	"os"
	osexec "os/exec"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/docusnap/asyncvfs/vfs"
	"github.com/stretchr/testify/require"
)

// TestFlushOnSignal runs itself as another process, and sends that a signal.
func TestFlushOnSignal(t *testing.T) {
	if dir := os.Getenv("ASYNCVFS_TEST_SIGNAL"); dir != "" {
		signalled(t, dir)
		return
	}
	for _, tt := range []struct {
		name    string
		signal  syscall.Signal
		handled string
	}{
		{"SIGTERM", syscall.SIGTERM, ""},
		{"SIGINT", syscall.SIGINT, ""},
		{"handled", syscall.SIGTERM, "notify"},
		{"ignored", syscall.SIGINT, "ignore"},
		{"other", syscall.SIGHUP, "other"},
		{"twice", syscall.SIGTERM, "hang"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !startsFast && tt.name != "SIGTERM" && tt.name != "handled" {
				t.Skip("the engine makes no difference, and this one starts slowly")
			}
			if signal.Ignored(tt.signal) {
				t.Skipf("%v is ignored, as in a shell's background: so it would be by the other process", tt.signal)
			}
			dir := t.TempDir()
			cmd := osexec.Command(os.Args[0], "-test.run=^TestFlushOnSignal$", "-test.v")
			cmd.Env = append(os.Environ(), "ASYNCVFS_TEST_SIGNAL="+dir, "ASYNCVFS_TEST_HANDLED="+tt.handled)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			lines := bufio.NewScanner(out)
			wait := func(line string) {
				for lines.Scan() {
					if lines.Text() == line {
						return
					}
				}
				require.Fail(t, "the other process ended before it said", line)
			}
			wait("ready")
			require.NoError(t, cmd.Process.Signal(tt.signal))
			switch tt.handled {
			case "hang":
				wait("syncing")
				require.NoError(t, cmd.Process.Signal(tt.signal))
			case "notify", "ignore":
				// The process goes on, and says so.
				wait("synced")
				wait("mode sync")
				require.NoError(t, cmd.Wait())
				return
			default:
				wait("synced")
			}
			for lines.Scan() {
			}
			err = cmd.Wait()
			var exit *osexec.ExitError
			require.ErrorAs(t, err, &exit)
			status := exit.Sys().(syscall.WaitStatus)
			require.True(t, status.Signaled(), "%v", err)
			require.Equal(t, tt.signal, status.Signal())
		})
	}
}

// signalled has commits pending, says “ready”, and waits for the end.
func signalled(t *testing.T, dir string) {
	handled := os.Getenv("ASYNCVFS_TEST_HANDLED")
	caught := make(chan os.Signal, 10)
	switch handled {
	case "notify":
		signal.Notify(caught, syscall.SIGTERM)
	case "ignore":
		signal.Ignore(syscall.SIGINT)
	}
	signals := []os.Signal(nil)
	if handled == "other" {
		signals = []os.Signal{syscall.SIGHUP}
	}
	stop := vfs.FlushOnSignal(signals...)

	rec := newRecorder()
	var ready atomic.Bool
	synced := make(chan struct{}, 10)
	rec.before = func(o op) error {
		if ready.Load() && o.kind == "sync" && o.file == "wal" {
			if handled == "hang" {
				fmt.Println("syncing")
				select {}
			}
			fmt.Println("synced")
			synced <- struct{}{}
		}
		return nil
	}
	c := open(t, filepath.Join(dir, "test.db"), register(t, rec), wal, normal, slow)
	run := func(sql string) { require.NoError(t, c.Exec(sql)) }
	run("CREATE TABLE t(x)")
	run("PRAGMA async_wait")
	for range 3 {
		run("INSERT INTO t VALUES(1)")
	}
	run("PRAGMA async_wait")
	run("INSERT INTO t VALUES(1)")
	run("INSERT INTO t VALUES(1)")
	ready.Store(true)
	fmt.Println("ready")

	if handled != "notify" && handled != "ignore" {
		select {} // until the signal ends the process
	}
	<-synced
	if handled == "notify" {
		<-caught // sent by the other process
		<-caught // sent again
	}
	eventually(t, func() bool { return query(t, c, "PRAGMA async_mode") == "sync" })
	fmt.Println("mode", query(t, c, "PRAGMA async_mode"))
	stop()
	stop()
	require.NoError(t, c.Close())
}
