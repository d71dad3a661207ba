// Package litestream has Litestream (https://litestream.io) replicate a database of the VFS while it is written to.
// It is a module of its own, since Litestream needs much.
package litestream
