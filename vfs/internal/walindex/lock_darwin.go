package walindex

// Open file description locks, as go-sqlite3 takes them.
//
// https://github.com/apple/darwin-xnu/blob/main/bsd/sys/fcntl.h
const (
	ofdSetLock  = 90
	ofdWaitLock = 91
	ofdGetLock  = 92
)
