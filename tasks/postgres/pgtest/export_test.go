package pgtest

// RemoveLeft is what each start of a server begins with.
var RemoveLeft = removeLeft
