//go:build !race && !wazero

package powercut

const slow = false
