package vfs

import (
	"os"
	"syscall"
)

var endSignals = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGPWR}
