package bench

import (
	"encoding/binary"
	"os"
)

// walFile is the WAL of a database.
type walFile string

// size returns its size in bytes; 0 if there is none.
func (f walFile) size() int64 {
	info, err := os.Stat(string(f))
	if err != nil {
		return 0
	}
	return info.Size()
}

// generation returns how many times it was started over, as its header tells.
//
// https://sqlite.org/fileformat.html#walformat
func (f walFile) generation() uint32 {
	file, err := os.Open(string(f))
	if err != nil {
		return 0
	}
	defer file.Close()
	var b [4]byte
	if _, err := file.ReadAt(b[:], 12); err != nil {
		return 0
	}
	return binary.BigEndian.Uint32(b[:])
}
