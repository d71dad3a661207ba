//go:build !linux

package pgtest

import "os/exec"

// startBound starts a process, and calls ended when it has ended. It outlives this one if that is killed.
func startBound(cmd *exec.Cmd, ended func()) error {
	err := cmd.Start()
	if err == nil {
		go func() {
			cmd.Wait()
			ended()
		}()
	}
	return err
}
