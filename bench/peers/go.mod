module github.com/docusnap/asyncvfs/bench/peers

go 1.26.0

require (
	github.com/docusnap/asyncvfs v0.0.0
	github.com/mattn/go-sqlite3 v1.14.33
	github.com/mikestefanello/backlite v0.6.0
	github.com/stretchr/testify v1.12.1
	maragu.dev/goqite v0.3.1
)

require (
	github.com/google/uuid v1.6.0 // indirect
	github.com/ncruces/go-sqlite3 v0.35.6 // indirect
	github.com/ncruces/go-sqlite3-wasm/v6 v6.3.35304 // indirect
	github.com/ncruces/julianday v1.0.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.48.0 // indirect
)

replace github.com/docusnap/asyncvfs => ../..
