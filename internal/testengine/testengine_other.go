//go:build !wazero

package testengine

const compiles = false
