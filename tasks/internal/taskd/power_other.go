//go:build !linux

package taskd

// flushOnPowerFailure does nothing: there is no such signal.
func flushOnPowerFailure() (stop func()) { return func() {} }
