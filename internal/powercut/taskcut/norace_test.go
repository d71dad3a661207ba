//go:build !race && !wazero

package taskcut

const slow = false
