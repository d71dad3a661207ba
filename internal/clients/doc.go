// Package clients holds no code, only tests and examples:
// they show that real clients run unchanged on the VFS with vfs=async in their DSN.
// It is a module of its own so that what it needs, GORM above all,
// isn't something that users of the VFS have to download.
package clients
