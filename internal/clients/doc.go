// Package clients holds no code, only tests and examples:
// they show that real clients run unchanged on the VFS with vfs=async in their DSN.
// It is a module of its own so that what it needs, GORM above all,
// isn't something that users of the VFS have to download.
//
// # Programs that others wrote
//
// programs.sh (make test-programs) runs their own database tests on go-sqlite3 with the stock VFS and with this one, on files in WAL mode,
// and compares test by test: each ended the same way with both. Of November 2026, passed of those that were run:
//
//	program                  version   stock         async
//	golang-migrate           v4.20.1   48 of 48      48 of 48
//	goose                    v3.30.0   2 of 4        2 of 4
//	sqlx                     v1.4.0    57 of 57      57 of 57
//	sqlc's examples          v1.30.0   4 of 4        4 of 4
//	xorm                     v1.3.11   504 of 507    504 of 507
//	xorm, by modernc's name  v1.3.11   504 of 507    504 of 507
//	xorm's core, migrate     v1.3.11   5 of 5        5 of 5
//	ent                      v0.14.5   2 of 3        2 of 3
//	PocketBase               v0.29.3   3633 of 3633  3633 of 3633
//	DBOS                     v1.8.0    1103 of 1103  1103 of 1103
//
// None fails with this VFS alone. What fails with both is due to go-sqlite3's driver, which isn't the one that they are written for:
//
//   - goose (2): wants the other driver's type of error code.
//   - xorm (3, by each driver's name): scan NULL, bytes and types of its own; they pass with the drivers of mattn and modernc.
//   - ent (1): several statements with arguments in one Exec, see vfs/MOVING.md.
//
// DBOS asks for sql.LevelReadCommitted, which go-sqlite3's driver refuses and modernc's ignores (vfs/MOVING.md): programs.sh has it ignored.
// DBOS also takes each error that has Timeout and Temporary for one of PostgreSQL's network, and tries again for ever,
// as after a UNIQUE constraint: programs.sh changes that line.
//
// What can't be had: bun's tests of databases (internal/dbtest), ent's (entc/integration) and GORM's (tests) are Go modules of their own,
// which go mod download didn't get; of ent there are those that its main module has, changed from memory to files.
package clients
