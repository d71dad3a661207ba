//go:build !linux

package vfs

// maxInFlight is 1: that a failed sync is told to every handle that was open before is known of Linux.
const maxInFlight = 1
