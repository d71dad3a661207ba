//go:build wazero && (linux || darwin) && !(sqlite3_flock || sqlite3_dotlk)

package shmguard

import (
	"reflect"
	"syscall"
	"unsafe"

	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// Guard is a connection's, for one database.
type Guard struct{ regions []reflect.Value }

// Used is called before SQLite uses, or ends its use of, the WAL-index.
func (g *Guard) Used(shm sqlitevfs.SharedMemory) {
	g.regions = g.regions[:0]
	v := reflect.ValueOf(shm)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return
	}
	regions := v.Elem().FieldByName("regions")
	if !regions.IsValid() || regions.Kind() != reflect.Slice {
		return
	}
	for i := range regions.Len() {
		if r := regions.Index(i); r.Kind() == reflect.Pointer {
			g.regions = append(g.regions, r.Elem())
		}
	}
}

// Unused is called once the use has ended, which is when SQLite closes the WAL,
// and before SQLite goes on.
func (g *Guard) Unused() {
	for _, r := range g.regions {
		addr, size, used := r.FieldByName("addr"), r.FieldByName("size"), r.FieldByName("used")
		if addr.IsValid() && size.IsValid() && used.IsValid() && !used.Bool() {
			// It can't fail but for want of memory, and then the hole stays.
			_ = syscall.Mprotect(unsafe.Slice((*byte)(addr.UnsafePointer()), size.Int()), syscall.PROT_READ)
		}
	}
	g.regions = nil
}
