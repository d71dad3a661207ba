//go:build race && wazero

package soakhttp

// falseRaces: wazero is built without the race detector, and what its instances of generic functions of the standard library synchronize isn't seen:
// encoding/json is then reported.
const falseRaces = true
