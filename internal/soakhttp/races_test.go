//go:build !race || !wazero

package soakhttp

const falseRaces = false
