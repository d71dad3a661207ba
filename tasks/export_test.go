package tasks

// Canonical is for the fuzz test.
var Canonical = canonical
