// Package crashstates has SQLite's C library open databases as power cuts left them.
// Its driver has the same name as go-sqlite3's, so it is tested by itself.
package crashstates
