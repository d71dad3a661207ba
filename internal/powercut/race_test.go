//go:build race || wazero

package powercut

// slow is set where everything takes many times as long.
const slow = true
