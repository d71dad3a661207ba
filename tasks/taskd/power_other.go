//go:build !linux

package main

// flushOnPowerFailure does nothing: there is no such signal.
func flushOnPowerFailure() (stop func()) { return func() {} }
