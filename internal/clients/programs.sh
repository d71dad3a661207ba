#!/usr/bin/env bash
# The database tests of programs that others wrote, on go-sqlite3 with the stock VFS and with this one, compared test by test.
# They are fetched as Go modules into a temporary folder: nothing of them is kept here.
# A program on another driver gets go-sqlite3's instead, under the name that it asks for, by the package "shim" below:
# that allows strings in double quotes, as that driver does, and chooses the VFS by $SHIM_VFS.
#
#	programs.sh [PROGRAM...]    migrate, goose; default: all
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir" && rm -rf "$dir"' EXIT
export GOFLAGS=-mod=mod GOWORK=off
failed=0

# fetch MODULE VERSION: copies it to $dir/copy.
fetch() {
	local source
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
				"database/sql"
				"database/sql/driver"
				"net/url"
				"os"
				"strings"

				_ "github.com/docusnap/asyncvfs/vfs"
				"github.com/ncruces/go-sqlite3"
				sqlite "github.com/ncruces/go-sqlite3/driver"
			)

			func init() {
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
				return (&sqlite.SQLite{}).Open(translate(name))
			}

			func translate(name string) string {
				path, query, _ := strings.Cut(strings.TrimPrefix(name, "file:"), "?")
				in, _ := url.ParseQuery(query)
				out := url.Values{}
				pragma := map[string]string{"_fk": "foreign_keys", "_foreign_keys": "foreign_keys", "_journal": "journal_mode",
					"_journal_mode": "journal_mode", "_sync": "synchronous", "_synchronous": "synchronous", "_timeout": "busy_timeout", "_busy_timeout": "busy_timeout"}
				out.Add("_pragma", "busy_timeout(5000)")
				fk := "off"
				for key, values := range in {
					for _, value := range values {
						switch {
						case key == "_pragma":
							out.Add("_pragma", value)
							if strings.HasPrefix(value, "foreign_keys") {
								fk = ""
							}
						case pragma[key] == "foreign_keys":
							fk = value
						case pragma[key] != "":
							out.Add("_pragma", pragma[key]+"("+value+")")
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
				if v := os.Getenv("SHIM_VFS"); path != ":memory:" && path != "" && out.Get("mode") != "memory" && !out.Has("vfs") {
					out.Set("vfs", v)
					if v == "async" {
						os.WriteFile(os.Getenv("SHIM_USED")+"-$name", []byte("used"), 0o600)
					}
				}
				return "file:" + path + "?" + strings.ReplaceAll(out.Encode(), "+", "%20")
			}
		EOF
	done
}

# compare NAME FOLDER DRIVERS ARGS...: runs go test in a folder with each VFS, and compares.
# DRIVERS are the names of those, joined by commas, by each of which databases must have been opened with this VFS.
compare() {
	local name=$1 folder=$2 drivers=$3 unused=
	shift 3
	for which in os async; do
		rm -f "$dir"/used-*
		(cd "$dir/copy/$folder" && SHIM_VFS=$which SHIM_USED=$dir/used go test -ldflags "-X github.com/ncruces/go-sqlite3/driver.driverName=go-sqlite3" -count=1 -timeout 8m -json "$@" >"$dir/$which.json" 2>"$dir/$which.err") || true
		# A line for each test: how it ended, its package and name.
		sed -n 's/.*"Action":"\(pass\|fail\|skip\)","Package":"\([^"]*\)","Test":"\([^"]*\)".*/\1 \2 \3/p' "$dir/$which.json" | sort -k2 >"$dir/$which.txt"
	done
	for driver in ${drivers//,/ }; do
		[ -e "$dir/used-$driver" ] || unused="$unused $driver"
	done
	local passed
	passed=$(grep -c '^pass' "$dir/async.txt" || true)
	printf '%-12s %4d tests, stock: %d passed, %d failed; async: %d passed, %d failed' "$name" "$(wc -l <"$dir/async.txt")" \
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
	elif [ -n "$unused" ]; then
		printf ' NONE USED THE VFS BY%s\n' "$unused"
		failed=1
	elif diff "$dir/os.txt" "$dir/async.txt" >"$dir/diff"; then
		printf ', test by test the same\n'
	else
		printf ' DIFFERENT\n'
		cat "$dir/diff"
		failed=1
	fi
}

# with FOLDER DRIVER...: has the module in a folder use the shim instead of the drivers.
with() {
	local folder=$1
	shift
	(
		cd "$dir/copy/$folder"
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

shim
all="migrate goose"
for program in ${*:-$all}; do
	$program || { echo "$program can't be had or built"; failed=1; }
done
exit $failed
