package tasks

import (
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// bootClock is a clock that nobody sets and that all processes share since the host was started, and the name of that start.
// A container with another such clock is another host.
func bootClock() (host string, at time.Duration, ok bool) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", 0, false
	}
	namespace, err := os.Readlink("/proc/self/ns/time")
	if err != nil {
		namespace = "" // of a kernel that has none
	}
	const monotonic = 1 // CLOCK_MONOTONIC, which Go's own time goes by
	var t syscall.Timespec
	if _, _, e := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&t)), 0); e != 0 {
		return "", 0, false
	}
	return strings.TrimSpace(string(id)) + " " + namespace, time.Duration(t.Nano()), true
}
