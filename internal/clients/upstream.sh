#!/usr/bin/env bash
# go-sqlite3's own tests of locking and shared memory, and SQLite's mptest, through the VFS async and beside that through the stock one.
# They come from the module cache, into a temporary folder: nothing of them is kept here.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
source=$(cd "$root" && go list -m -f '{{.Dir}}' github.com/ncruces/go-sqlite3)
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir" && rm -rf "$dir"' EXIT
cp -r "$source" "$dir/stock"
chmod -R u+w "$dir/stock"
cp -r "$dir/stock" "$dir/async"
cd "$dir/async"
go mod edit -require=github.com/docusnap/asyncvfs@v0.0.0 -replace=github.com/docusnap/asyncvfs="$root"
# What only their extensions need, some of which can't be had.
go mod edit -droprequire=github.com/segmentio/go-hll -dropreplace=github.com/segmentio/go-hll
for package in tests mptest; do
	folder=vfs/tests
	[ $package = tests ] || folder=vfs/tests/mptest
	printf 'package %s\n\nimport _ "github.com/docusnap/asyncvfs/vfs"\n' $package >$folder/async_test.go
done
# What is opened without a VFS is opened with this one, and the tests fail if nothing is.
sed -i 's/driver\.Open(dsn)/driver.Open(dsn + "\&vfs=async")/' vfs/tests/wal_*_test.go
sed -i 's/{name: ""}/{name: "", vfs: "async"}/; s/{name: "_wal", isWAL: true}/{name: "_wal", vfs: "async", isWAL: true}/' vfs/tests/mptest/mptest_test.go
grep -q 'vfs=async' vfs/tests/wal_stress_test.go
grep -q 'vfs=async' vfs/tests/wal_shm_test.go
[ "$(grep -c 'vfs: "async"' vfs/tests/mptest/mptest_test.go)" = 2 ]
for which in stock async; do
	cd "$dir/$which"
	echo "== $which"
	go test -mod=mod -count=1 -timeout 10m -run 'TestWAL' ./vfs/tests
	go test -mod=mod -count=1 -timeout 10m -run 'Test_mptest/(multiwrite01|crash01|config01|config02)(_wal)?$' ./vfs/tests/mptest
done
