// Package peers measures package tasks beside other queues on SQLite, each doing its nearest equivalent.
// It is a module of its own, so that nobody else downloads them.
//
//	cd bench/peers && go test -bench . -benchtime 1x
package peers
