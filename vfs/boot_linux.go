package vfs

import (
	"os"
	"strings"
	"sync"
)

// bootID names the start of the system.
var bootID = sync.OnceValue(func() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
})
