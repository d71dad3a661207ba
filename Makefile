# Both engines: go.mod takes go-sqlite3 as it is now, go.wazero.mod its last version on wazero.
WAZERO := -tags wazero -modfile=go.wazero.mod
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.DEFAULT_GOAL := help
.PHONY: help demo test test-wazero test-clients hunt hunt-tasks hunt-kill lint cross cover fuzz bench bench-tasks bench-peers

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

demo: ## process the Go source tree as tasks, twice, beside one transaction per call (ARGS=folder for other files)
	@go run ./internal/demo $(ARGS)

test: ## all tests, with the race detector; then power cuts and kills by the thousand without it
	go test -race ./...
	go test -v -run 'TestPowerCuts|TestControls|TestFaults' ./internal/powercut -states 25000
	go test -v -run 'TestPowerCuts|TestControls' ./internal/powercut/taskcut -states 10000
	go test -v -run TestKilledAtRandom ./vfs -kills 200

test-wazero: ## the same tests on the engine on wazero
	go test -race $(WAZERO) ./...

test-clients: ## database/sql, GORM and go-sqlite3's own API, in a module of its own
	cd internal/clients && go vet ./... && go test -race ./...

hunt: ## check N states that a power cut leaves, on all cores (N=1000000 SEED=random)
	go test -v -run TestPowerCuts -timeout 0 ./internal/powercut -states $(or $(N),1000000) -seed $(or $(SEED),$(shell date +%s))

hunt-tasks: ## check N states that a power cut leaves of task tables, on all cores (N=1000000 SEED=random)
	go test -v -run TestPowerCuts -timeout 0 ./internal/powercut/taskcut -states $(or $(N),1000000) -seed $(or $(SEED),$(shell date +%s))

hunt-kill: ## kill a process with many writers N times (N=1000 SEED=random)
	go test -v -run TestKilledAtRandom -timeout 0 ./vfs -kills $(or $(N),1000) -killseed $(or $(SEED),$(shell date +%s))

lint: ## gofmt, vet on both engines, staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }
	go vet ./...
	go vet $(WAZERO) ./...
	go run $(STATICCHECK) ./...

cross: ## compile for other systems
	GOOS=darwin GOARCH=arm64 go vet ./...
	GOOS=windows GOARCH=amd64 go vet ./...
	GOOS=linux GOARCH=arm64 go vet ./...
	GOOS=freebsd GOARCH=amd64 go vet ./...

cover: ## coverage of the VFS and its queue, which must be 90 % or more
	go test -cover ./vfs ./internal/syncqueue | tee /dev/stderr | awk '/coverage:/ { sub("%", "", $$5); if ($$5 + 0 < 90) low = 1 } END { exit low }'

fuzz: ## fuzz the queue, and the tasks' keys, ids and calls (FUZZTIME=1m each)
	go test -fuzz FuzzQueue -fuzztime $(or $(FUZZTIME),1m) ./internal/syncqueue
	go test -run '^$$' -fuzz FuzzCanonical -fuzztime $(or $(FUZZTIME),1m) ./tasks
	go test -run '^$$' -fuzz FuzzID -fuzztime $(or $(FUZZTIME),1m) ./tasks
	go test -run '^$$' -fuzz FuzzStore -fuzztime $(or $(FUZZTIME),1m) ./tasks

bench: ## commits per second beside the stock VFS, in turn (about 3 minutes)
	go test -run '^$$' -bench Beside ./bench

bench-tasks: ## package tasks beside one connection and one transaction per call, in Go and in Python (about 2 minutes)
	go test -run '^$$' -bench 'Tasks|Status' -benchtime 1x ./bench

bench-peers: ## package tasks beside goqite, backlite and River, in a module of its own (about 1 minute)
	cd bench/peers && go test -run '^$$' -bench . -benchtime 1x .
