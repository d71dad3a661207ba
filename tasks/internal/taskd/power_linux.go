package taskd

import (
	"syscall"

	"github.com/docusnap/asyncvfs/vfs"
)

// flushOnPowerFailure has everything made durable on SIGPWR, which ends the program then.
func flushOnPowerFailure() (stop func()) { return vfs.FlushOnSignal(syscall.SIGPWR) }
