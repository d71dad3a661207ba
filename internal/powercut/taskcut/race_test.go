//go:build race || wazero

package taskcut

// slow is set where everything takes many times as long.
const slow = true
