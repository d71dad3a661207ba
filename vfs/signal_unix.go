//go:build unix

package vfs

import (
	"os"
	"syscall"
)

// raise sends the process a signal.
func raise(s os.Signal) {
	if s, ok := s.(syscall.Signal); ok {
		syscall.Kill(os.Getpid(), s)
	}
}
