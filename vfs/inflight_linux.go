package vfs

// maxInFlight is how many syncs of a WAL run at a time at most.
const maxInFlight = 3
