// Package peers measures the VFS beside other SQL drivers and key-value stores,
// and package tasks beside other queues on SQLite, each doing its nearest equivalent.
// It is a module of its own, so that nobody else downloads them.
//
//	make bench-drivers
//	make bench-peers
//	cd bench/peers && go test -short -run '^$' -bench 'Drivers/kind=update/rows=1$/size=100$/conns=8$/level=normal' -benchtime 1x .
package peers
