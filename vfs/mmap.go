//go:build !wazero

package vfs

import (
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

var _ sqlitevfs.FileMemoryMapper = (*dbFile)(nil)

// MemoryMapper forwards PRAGMA mmap_size. The engine on wazero has none.
//
// https://sqlite.org/mmap.html
func (f *dbFile) MemoryMapper() sqlitevfs.MemoryMapper { return vfsutil.WrapMemoryMapper(f.File) }
