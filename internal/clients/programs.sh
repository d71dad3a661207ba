#!/usr/bin/env bash
# The database tests of programs that others wrote, on go-sqlite3 with the stock VFS and with this one, compared test by test.
# They are fetched as Go modules into a temporary folder: nothing of them is kept here.
# A program on another driver gets go-sqlite3's instead, under the name that it asks for, by the package "shim" below:
# that allows strings in double quotes, as that driver does, chooses the VFS by $SHIM_VFS,
# and has files in WAL mode where the name says nothing of it, since in the other modes this VFS leaves all to the one below.
# What came of it is in doc.go.
#
#	programs.sh [PROGRAM...]    those of the list at the end; default: all
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir" && rm -rf "$dir"' EXIT
export GOFLAGS=-mod=mod GOWORK=off
failed=0

# fetch MODULE VERSION: copies it to $dir/copy.
fetch() {
	local source
	version=$2
	source=$(go mod download -json "$1@$2" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	[ -d "$source" ] || return 1
	rm -rf "$dir/copy"
	cp -r "$source" "$dir/copy"
	chmod -R u+w "$dir/copy"
}

# shim: makes the packages of two drivers out of go-sqlite3: what the tests use of them is their import.
# Where they use more, they don't compile, which is said.
shim() {
	for driver in mattn modernc; do
		mkdir -p "$dir/shim/$driver"
		local module=github.com/mattn/go-sqlite3 name=sqlite3 package=sqlite3
		[ $driver = mattn ] || { module=modernc.org/sqlite name=sqlite package=sqlite; }
		cat >"$dir/shim/$driver/go.mod" <<-EOF
			module $module

			go 1.26.0

			require (
				github.com/docusnap/asyncvfs v0.0.0
				github.com/ncruces/go-sqlite3 v0.37.0
			)
		EOF
		cat >"$dir/shim/$driver/shim.go" <<-EOF
			// Package $package registers go-sqlite3's driver.
			package $package

			import (
				"context"
				"database/sql"
				"database/sql/driver"
				"net/url"
				"os"
				"strings"
				"sync"

				"github.com/docusnap/asyncvfs/vfs"
				"github.com/ncruces/go-sqlite3"
				sqlite "github.com/ncruces/go-sqlite3/driver"
				_ "github.com/ncruces/go-sqlite3/vfs/memdb"
			)

			func use(what string) {
				os.WriteFile(os.Getenv("SHIM_USED")+"-"+what, []byte("used"), 0o600)
			}

			func init() {
				var once sync.Once
				vfs.AddEvents(vfs.Events{SyncEnded: func(e vfs.SyncEvent) {
					if e.File == "wal" {
						once.Do(func() { use("wal") })
					}
				}})
				sqlite3.AutoExtension(func(c *sqlite3.Conn) error {
					c.Config(sqlite3.DBCONFIG_DQS_DML, true)
					c.Config(sqlite3.DBCONFIG_DQS_DDL, true)
					return nil
				})
				sql.Register("$name", shim{}) // go-sqlite3's own has another name here: see compare
			}

			// Error is the other driver's too: its Code is of another type.
			type Error = sqlite3.Error

			type shim struct{}

			// Open translates the parameters that the tests use, see vfs/MOVING.md, and adds the VFS.
			func (shim) Open(name string) (driver.Conn, error) {
				c, err := (&sqlite.SQLite{}).Open(translate(name))
				if err != nil {
					return nil, err
				}
				return conn{c.(sqlite.Conn), c.(driver.ExecerContext), c.(driver.NamedValueChecker)}, nil
			}

			// conn ignores the isolation level, as the other drivers do.
			type conn struct {
				sqlite.Conn
				driver.ExecerContext
				driver.NamedValueChecker
			}

			func (c conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
				opts.Isolation = driver.IsolationLevel(sql.LevelDefault)
				return c.Conn.BeginTx(ctx, opts)
			}

			func translate(name string) string {
				path, query, _ := strings.Cut(strings.TrimPrefix(name, "file:"), "?")
				in, _ := url.ParseQuery(query)
				out := url.Values{}
				pragma := map[string]string{"_fk": "foreign_keys", "_foreign_keys": "foreign_keys", "_journal": "journal_mode",
					"_journal_mode": "journal_mode", "_sync": "synchronous", "_synchronous": "synchronous", "_timeout": "busy_timeout", "_busy_timeout": "busy_timeout"}
				out.Add("_pragma", "busy_timeout(5000)")
				fk, journal := "off", "wal"
				if in.Get("mode") == "ro" || in.Has("immutable") {
					journal = ""
				}
				for key, values := range in {
					for _, value := range values {
						switch {
						case key == "_pragma":
							out.Add("_pragma", value)
							if strings.HasPrefix(value, "foreign_keys") {
								fk = ""
							}
							if strings.HasPrefix(value, "journal_mode") {
								journal = ""
							}
						case pragma[key] == "foreign_keys":
							fk = value
						case pragma[key] != "":
							out.Add("_pragma", pragma[key]+"("+value+")")
							if pragma[key] == "journal_mode" {
								journal = ""
							}
						case key == "cache":
						default:
							out.Add(key, value)
						}
					}
				}
				if fk != "" {
					out.Add("_pragma", "foreign_keys("+fk+")")
				}
				if !out.Has("_txlock") {
					out.Set("_txlock", "deferred")
				}
				switch memory := path == ":memory:" || path == "" || out.Get("mode") == "memory"; {
				case memory && in.Get("cache") == "shared": // there is none, see vfs/MOVING.md
					path = "/" + path
					out.Del("mode")
					out.Set("vfs", "memdb")
				case !memory && !out.Has("vfs"):
					if journal != "" {
						out.Add("_pragma", "journal_mode("+journal+")")
					}
					out.Set("vfs", os.Getenv("SHIM_VFS"))
					if out.Get("vfs") == "async" {
						use("$name")
					}
				}
				return "file:" + path + "?" + strings.ReplaceAll(out.Encode(), "+", "%20")
			}
		EOF
	done
}

# ended prints the packages that failed, with one VFS or the other, though no test of them did: they panicked, or took too long.
ended() {
	for which in os async; do
		sed -n 's/.*"Action":"fail","Package":"\([^"]*\)","Elapsed".*/\1/p' "$dir/$which.json" | while read -r package; do
			grep -q "^fail $package " "$dir/$which.txt" || echo "$which $package"
		done
	done
}

# run FOLDER ARGS...: runs go test in a folder with each VFS. How each test ended is in $dir/os.txt and $dir/async.txt.
# $data is a folder that is empty at the start of each.
data=$dir/data
run() {
	local folder=$1
	shift
	for which in os async; do
		rm -rf "$dir"/used-* "$data" "$dir/run"
		mkdir "$data"
		cp -r "$dir/copy" "$dir/run" # tests leave files behind
		(cd "$dir/run/$folder" && SHIM_VFS=$which SHIM_USED=$dir/used go test -ldflags "-X github.com/ncruces/go-sqlite3/driver.driverName=go-sqlite3" -count=1 -vet=off -timeout 20m -json "$@" >"$dir/$which.json" 2>"$dir/$which.err") || true
		# A line for each test: how it ended, its package and name, without the addresses, times and random file names that some have in them.
		sed -n 's/.*"Action":"\(pass\|fail\|skip\)","Package":"\([^"]*\)","Test":"\(.*\)","Elapsed".*/\1 \2 \3/p' "$dir/$which.json" |
			sed -E 's/0x[0-9a-f]+/0x/g; s/time\.Date\([^)]*\)/time.Date/g; s/_[a-z0-9]{10}\.txt/.txt/g' | sort -k2 >"$dir/$which.txt"
	done
}

# compare NAME FOLDER DRIVERS ARGS...: runs go test in a folder with each VFS, and compares.
# DRIVERS are the names of those, joined by commas, by each of which databases must have been opened with this VFS,
# which must have synced a WAL too. Tests that ended otherwise are run once more, alone with each: some depend on how busy the machine is.
compare() {
	local name=$1 folder=$2 drivers=$3 unused='' whole again
	shift 3
	run "$folder" "$@"
	for driver in ${drivers//,/ }; do
		[ -e "$dir/used-$driver" ] || unused="$unused $driver"
	done
	[ -e "$dir/used-wal" ] || unused="$unused (no WAL was synced)"
	local passed
	passed=$(grep -c '^pass' "$dir/async.txt" || true)
	printf '%-11s %-8s %4d tests, stock: %d passed, %d failed; async: %d passed, %d failed' "$name" "$version" "$(wc -l <"$dir/async.txt")" \
		"$(grep -c '^pass' "$dir/os.txt" || true)" "$(grep -c '^fail' "$dir/os.txt" || true)" "$passed" "$(grep -c '^fail' "$dir/async.txt" || true)"
	if [ "$passed" = 0 ]; then
		printf ' NONE RAN\n'
		tail -n 5 "$dir/async.err"
		sed -n 's/.*"Action":"build-output","Output":"\(.*\)".*/\1/p' "$dir/async.json" | head -n 5
		failed=1
	elif grep -q '"Action":"build-fail"' "$dir/async.json"; then
		printf ' SOME DO NOT BUILD\n'
		sed -n 's/.*"Action":"build-output","Output":"\(.*\)".*/\1/p' "$dir/async.json" | head -n 5
		failed=1
	elif whole=$(ended) && [ -n "$whole" ]; then
		printf ' NOT BY A TEST, FAILED\n%s\n' "$whole"
		failed=1
	elif [ -n "$unused" ]; then
		printf ' NONE USED THE VFS BY%s\n' "$unused"
		failed=1
	elif diff "$dir/os.txt" "$dir/async.txt" >"$dir/diff"; then
		printf ', test by test the same\n'
	else
		again=$(sed -n 's|^[<>] [a-z]* [^ ]* \([^/]*\).*|\1|p' "$dir/diff" | sort -u | paste -sd '|')
		cp "$dir/diff" "$dir/first"
		run "$folder" "$@" -run "^($again)\$"
		if diff "$dir/os.txt" "$dir/async.txt" >"$dir/diff" && [ -s "$dir/os.txt" ]; then
			printf ', test by test the same, when these were run once more: %s\n' "$again"
		else
			printf ' DIFFERENT, twice\n'
			cat "$dir/first" "$dir/diff"
			failed=1
		fi
	fi
}

# with FOLDER DRIVER...: has the module in a folder use the shim instead of the drivers.
with() {
	local folder=$1
	shift
	(
		cd "$dir/copy/$folder"
		go mod edit -go=1.26.0 -toolchain=none # what the VFS needs
		go mod edit -require=github.com/docusnap/asyncvfs@v0.0.0 -replace=github.com/docusnap/asyncvfs="$root"
		for driver in "$@"; do
			local module=github.com/mattn/go-sqlite3
			[ "$driver" = mattn ] || module=modernc.org/sqlite
			go mod edit -replace=$module="$dir/shim/$driver"
		done
		go mod tidy -e >/dev/null 2>&1 || true
	)
}

migrate() { # golang-migrate's own suite for a database, on files
	fetch github.com/golang-migrate/migrate/v4 v4.20.1
	with . mattn modernc
	compare migrate . sqlite3,sqlite ./database/sqlite3 ./database/sqlite
}

goose() { # its stores; two tests want the other driver's type of error code, and fail with both VFSes
	fetch github.com/pressly/goose/v3 v3.30.0
	with . modernc mattn
	compare goose . sqlite ./database
}

sqlx() { # all of it, on one file
	fetch github.com/jmoiron/sqlx v1.4.0
	with . mattn
	SQLX_SQLITE_DSN=$data/sqlx.db SQLX_POSTGRES_DSN=skip SQLX_MYSQL_DSN=skip compare sqlx . sqlite3 .
}

sqlc() { # the code that it has generated in its examples
	fetch github.com/sqlc-dev/sqlc v1.30.0
	with . modernc
	compare sqlc . sqlite -tags examples ./examples/authors/sqlite ./examples/booktest/sqlite ./examples/ondeck/sqlite
}

xorm() { # its integration tests by the names of both drivers, and those of packages that open files themselves
	fetch xorm.io/xorm v1.3.11
	sed -i '/travelliu\/dm"/d' "$dir/copy/tests/engine_test.go" # another database's driver, which can't always be had
	with . mattn modernc
	compare xorm . sqlite3 ./tests -db=sqlite3 -conn_str="$data/xorm.db?cache=shared&mode=rwc"
	compare xorm-sqlite . sqlite ./tests -db=sqlite -conn_str="$data/xorm.db?cache=shared&mode=rwc"
	compare xorm-core . sqlite3 ./core ./migrate
}

ent() { # its migrations for SQLite, on files instead of in memory
	fetch entgo.io/ent v0.14.5
	with . mattn
	sed -i 's|"file:test?mode=memory&_fk=1"|"file:" + t.TempDir() + "/test.db?_fk=1"|' "$dir/copy/dialect/sql/schema/migrate_test.go"
	compare ent . sqlite3 ./dialect/sql/schema -run 'TestMigrate_Diff|TestAtlas_StateReader'
}

pocketbase() { # its packages that have databases
	fetch github.com/pocketbase/pocketbase v0.29.3
	with . modernc
	compare pocketbase . sqlite ./apis ./core/... ./forms ./mails ./plugins/... ./tools/search ./tools/dbutils
}

dbos() { # its tests as they are run for SQLite
	fetch github.com/dbos-inc/dbos-transact-golang v1.8.0
	with . modernc
	sed -i 's|return se.Code()|return int(se.ExtendedCode())|' "$dir/copy/dbos/driver/sqlite/sqlite.go" # the same number by another name
	# It takes every error that has Timeout and Temporary, as go-sqlite3's have, for one of PostgreSQL's network, and tries again for ever.
	sed -i 's/^\(\t*\)PostgresDialect{}.IsRetryable,$/\1func(err error, l *slog.Logger) bool { return sqliteCode(err) < 0 \&\& PostgresDialect{}.IsRetryable(err, l) },/' "$dir/copy/dbos/internal/sysdb/system_database.go"
	DBOS_TEST_BACKEND=sqlite compare dbos . sqlite ./dbos/...
}

shim
all="migrate goose sqlx sqlc xorm ent pocketbase dbos"
for program in ${*:-$all}; do
	$program || { echo "$program can't be had or built"; failed=1; }
done
exit $failed
