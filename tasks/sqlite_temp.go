package tasks

import "os"

// hasTemp reports whether SQLite can make temporary files, as go-sqlite3 makes them for it. A container may have no folder for them.
func hasTemp() bool {
	f, err := os.CreateTemp(os.Getenv("SQLITE_TMPDIR"), "*.db")
	if err != nil {
		return false
	}
	f.Close()
	return os.Remove(f.Name()) == nil
}
