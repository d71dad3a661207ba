package pgtest

import (
	"os/exec"
	"runtime"
	"syscall"
)

// startBound starts a process that is killed when this one ends, however it does. The kernel looks at the thread that started it,
// so that one must not end before: its goroutine stays on it until the process has ended. It calls ended then.
//
// The server's other processes end by themselves once the first one is gone.
func startBound(cmd *exec.Cmd, ended func()) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
			ended()
		}
	}()
	return <-started
}
