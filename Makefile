# Both engines: go.mod takes go-sqlite3 as it is now, go.wazero.mod its last version on wazero.
WAZERO := -tags wazero -modfile=go.wazero.mod
# The race detector looks at everything but SQLite itself, which is translated to Go
# or runs on wazero, has no goroutines, and would be ten times slower.
RACE := -race -gcflags=github.com/ncruces/go-sqlite3-wasm/...=-race=false
RACE_WAZERO := -race -gcflags=github.com/tetratelabs/wazero/...=-race=false
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.DEFAULT_GOAL := help
.PHONY: $(shell sed -nE 's/^([a-z-]+):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

demo: ## process the Go source tree as tasks, twice, beside one transaction per call (ARGS=folder for other files)
	@go run ./internal/demo $(ARGS)

serve: ## serve tasks and a page on 127.0.0.1:8377, with workers that process the Go source tree (ARGS=flags of taskd)
	@mkdir -p serve && go run ./tasks/taskd -demo -store serve/tasks.db $(ARGS)

test: ## all tests, with the race detector; then power cuts and kills by the thousand without it
	go test $(RACE) -timeout 20m ./...
	go test -v -run 'TestPowerCuts|TestControls|TestFaults|TestSameSeed' ./internal/powercut -states 25000 -every 2
	go test -v -run 'TestPowerCuts|TestControls' ./internal/powercut/taskcut -states 10000
	go test -v -run TestKilledAtRandom ./vfs -kills 200

test-faults: ## a fault at every operation of workloads that it can happen to, where make test has one at every second (1 minute)
	go test -v -count=1 -timeout 20m -run TestFaults ./internal/powercut

test-wazero: ## the same tests on the engine on wazero
	go test $(RACE_WAZERO) -timeout 30m $(WAZERO) ./...

# -count=1: vfs/MOVING.md, which tests read, isn't in their module, and go test doesn't see when it has changed.
test-clients: ## database/sql, GORM and go-sqlite3's own API, in a module of its own
	cd internal/clients && go vet ./... && go test $(RACE) -count=1 -skip TestEncrypted ./... && go test -timeout 5m -run TestEncrypted .

test-litestream: ## Litestream replicating a database that is written to, through kills of either, in a module of its own (under 1 minute)
	cd internal/litestream && go vet ./... && go test -count=1 -timeout 5m ./...

test-programs: ## the database tests of eight programs that others wrote, with both VFSes, test by test (up to half an hour, most of it DBOS; PROGRAMS="sqlx ent" for some; fetches them)
	internal/clients/programs.sh $(PROGRAMS)

test-postgres: ## package tasks on PostgreSQL, in a module of its own, with servers that it starts itself (Debian's package postgresql)
	cd tasks/postgres && go vet ./... && go test -timeout 20m ./...

test-upstream: ## go-sqlite3's own tests of locking and shared memory, and SQLite's mptest, with both VFSes (about 1 minute)
	internal/clients/upstream.sh

test-metrics: ## OpenTelemetry instruments, traces, and every expression of the dashboard and the alerts, in modules of their own
	cd vfs/vfsmetrics && go vet ./... && go test $(RACE) ./...
	cd vfs/vfsmetrics/rulestest && go vet ./... && go test ./...

test-page: ## the page in a real Chromium, in a module of its own (SHOTS=folder for screenshots)
	cd internal/pagetest && go vet ./... && go run $(STATICCHECK) ./... && go test -count=1 -timeout 10m ./...

hunt: ## check N states that a power cut leaves, on all cores (N=1000000 SEED=random)
	go test -v -run TestPowerCuts -timeout 0 ./internal/powercut -states $(or $(N),1000000) -seed $(or $(SEED),$(shell date +%s))

hunt-tasks: ## check N states that a power cut leaves of task tables, on all cores (N=1000000 SEED=random)
	go test -v -run TestPowerCuts -timeout 0 ./internal/powercut/taskcut -states $(or $(N),1000000) -seed $(or $(SEED),$(shell date +%s))

hunt-kill: ## kill a process with many writers N times (N=1000 SEED=random)
	go test -v -run TestKilledAtRandom -timeout 0 ./vfs -kills $(or $(N),1000) -killseed $(or $(SEED),$(shell date +%s))

hunt-walreset: ## count how often an old SQLite's WAL-reset bug strikes beside each way to checkpoint (N=40 runs of half a second each)
	cd internal/clients && go test -v -count=1 -run TestHowOften -timeout 0 ./walreset -runs $(or $(N),40)

soak: ## processes that use one database in every way for an hour, one of them killed at random (SOAK=1h)
	go test -v -count=1 -timeout 0 ./internal/soak -soak $(or $(SOAK),1h)

soak-http: ## clients of many sorts that come, stall, break off and go, at a server of tasks for an hour (SOAK=1h)
	go test -v -count=1 -timeout 0 -run 'TestSoak$$' ./internal/soakhttp -soak $(or $(SOAK),1h)

service: ## run a service for real: workers in three processes that die, hang and panic, a clock that is set (N=10000 documents)
	go test -v -run TestService -timeout 0 ./tasks -documents $(or $(N),10000)

lint: ## gofmt, vet on both engines, staticcheck, no import of wazero
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }
	@! grep -rn '"github.com/tetratelabs/' --include=*.go . || { echo 'go mod tidy would make everybody download it, whatever the build tag'; exit 1; }
	go vet ./...
	go vet $(WAZERO) ./...
	go run $(STATICCHECK) ./...

cross: ## compile for other systems
	GOOS=darwin GOARCH=arm64 go vet ./...
	GOOS=windows GOARCH=amd64 go vet ./...
	GOOS=linux GOARCH=arm64 go vet ./...
	GOOS=freebsd GOARCH=amd64 go vet ./...

cover: ## coverage of the VFS and its queue, which must be 90 % or more
	go test -cover ./vfs ./vfs/internal/syncqueue | awk '{ print } /coverage:/ { sub("%", "", $$5); if ($$5 + 0 < 90) low = 1 } END { exit low }'

fuzz: ## fuzz the queue, and the tasks' keys, ids and calls (FUZZTIME=1m each)
	go test -fuzz FuzzQueue -fuzztime $(or $(FUZZTIME),1m) ./vfs/internal/syncqueue
	go test -run '^$$' -fuzz FuzzCanonical -fuzztime $(or $(FUZZTIME),1m) ./tasks
	go test -run '^$$' -fuzz FuzzID -fuzztime $(or $(FUZZTIME),1m) ./tasks
	go test -run '^$$' -fuzz FuzzStore -fuzztime $(or $(FUZZTIME),1m) ./tasks

bench: ## this VFS beside stock, in short; a report with charts in bench/out (under 5 minutes)
	bench/run.sh beside.txt 1 . -short -run '^$$' -bench 'Fdatasync|Beside|Memory' -benchtime 1x ./bench
	bench/run.sh workloads.txt 3 . -short -run '^$$' -bench 'Workloads/kind=insert/rows=1$$/size=100$$/conns=/disk=real/level=(full|normal)/setup=(stock|async)$$' -benchtime 1x ./bench
	go run ./bench/series -out bench/out/series.csv
	@$(MAKE) --no-print-directory bench-report

bench-long: ## the same with longer runs, and more workloads, disks and setups (about 40 minutes)
	bench/run.sh beside.txt 1 . -run '^$$' -bench 'Fdatasync|Beside|Memory' -benchtime 1x -timeout 2h ./bench
	bench/run.sh workloads.txt 3 . -run '^$$' -bench 'Workloads/kind=insert/rows=1$$/size=100$$/conns=/disk=/level=(full|normal)' -benchtime 1x -timeout 2h ./bench
	bench/run.sh workloads-8.txt 3 . -short -run '^$$' -bench 'Workloads/kind=/rows=/size=/conns=8$$/disk=real/level=(full|normal)' -benchtime 1x -timeout 2h ./bench
	go run ./bench/series -out bench/out/series.csv
	@$(MAKE) --no-print-directory bench-report

bench-drivers: ## beside other SQL drivers, bbolt and pebble, in a module of its own (about 10 minutes)
	bench/run.sh drivers.txt 1 bench/peers -short -run '^$$' -bench 'Drivers/kind=insert/rows=1$$/size=100$$/conns=/level=(full|normal)' -benchtime 1x -timeout 1h .
	bench/run.sh drivers-8.txt 1 bench/peers -short -run '^$$' -bench 'Drivers/kind=(update|delete|mixed|read)/rows=1$$/size=100$$/conns=8$$/level=normal' -benchtime 1x -timeout 1h .
	bench/run.sh drivers-large.txt 1 bench/peers -short -run '^$$' -bench 'Drivers/kind=insert/rows=100$$/size=8192$$/conns=8$$/level=full' -benchtime 1x -timeout 1h .
	bench/run.sh stores.txt 1 bench/peers -short -run '^$$' -bench 'Fdatasync|Stores' -benchtime 1x -timeout 1h .
	@$(MAKE) --no-print-directory bench-report

bench-report: ## the report of what is measured already, in bench/out
	@cd bench/report && go run . -in ../out -out ../out

bench-charts: ## the charts of what is measured already, into bench/charts for the README
	@cd bench/report && go run . -in ../out -out ../charts -page=false

test-openapi: ## hold taskhttp's OpenAPI document against recorded traffic, by a validator, in a module of its own
	cd internal/openapi && go vet ./... && go run $(STATICCHECK) ./... && go test ./...

bench-test: ## vet and test the benchmarks' own modules
	cd bench/report && go vet ./... && go test ./...
	cd bench/peers && go vet ./... && go test ./...

bench-tasks: ## package tasks beside one connection and one transaction per call, in Go and in Python (about 2 minutes)
	go test -run '^$$' -bench 'Tasks|Status' -benchtime 1x ./bench

bench-http: ## taskhttp beside net/http serving a constant, an event to 5,000 streams, and beside Python's threaded server (about 2 minutes)
	go test -run '^$$' -bench 'Lookup|FanOut' -benchtime 10x ./tasks/taskhttp
	go test -run '^$$' -bench HTTP -benchtime 1x ./bench

bench-growth: ## package tasks beside up to a million tasks, and 10,000 who wait, into bench/out (a few minutes; SHORT=-short up to 100,000)
	@bench/run.sh growth.txt 1 . -run '^$$' -bench Growth -benchtime 1x -timeout 60m $(SHORT) ./bench

bench-contexts: ## commits whose contexts can be cancelled beside such that can't, through database/sql (about 1 minute)
	@bench/run.sh contexts.txt 1 . -short -run '^$$' -bench Contexts -benchtime 1x ./bench

bench-metrics: ## what it costs to attach vfs/vfsmetrics: commits/s of 64 connections with it and without, in turns, and one recorded event, into bench/out (about 3 minutes)
	@bench/run.sh metrics.txt 1 vfs/vfsmetrics -run '^$$' -bench Cost -benchtime 1x -timeout 20m .
	@bench/run.sh metrics-record.txt 1 vfs/vfsmetrics -run '^$$' -bench Record .

bench-tuning: ## what the settings of vfs/TUNING.md bring, put into that page (about 5 minutes)
	go run ./bench/tuning -page vfs/TUNING.md

bench-peers: ## package tasks beside goqite, backlite and River, in a module of its own (about 1 minute)
	cd bench/peers && go test -run '^$$' -bench Peers -benchtime 1x .

bench-postgres: ## package tasks on PostgreSQL: beside River, a look-up beside bare pgx, beside other tasks, idle, and bloat, into bench/out (a few minutes)
	bench/run.sh postgres.txt 1 bench/peers -short -run '^$$' -bench 'Postgres' -benchtime 1x -timeout 20m .
