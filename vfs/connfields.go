package vfs

import (
	"reflect"

	"github.com/ncruces/go-sqlite3"
)

// What go-sqlite3 knows of a connection and has no method for. It is only looked at, never changed,
// and where a field isn't what it was, the answer is the one that does less.

// connField returns a field of the connection, or the zero Value.
func connField(c *sqlite3.Conn, name string, kind reflect.Kind) reflect.Value {
	field := reflect.ValueOf(c).Elem().FieldByName(name)
	if field.Kind() != kind {
		return reflect.Value{}
	}
	return field
}

// isOpen reports whether SQLite has returned from opening the connection:
// until then none of its methods may be called.
func isOpen(c *sqlite3.Conn) bool {
	handle := connField(c, "handle", reflect.Uint32)
	return !handle.IsValid() || handle.Uint() != 0
}

// observed reports whether an authorizer or a trace function of the application's would see a statement.
func observed(c *sqlite3.Conn) bool {
	for _, name := range [...]string{"authorizer", "trace"} {
		if f := connField(c, name, reflect.Func); !f.IsValid() || !f.IsNil() {
			return true
		}
	}
	return false
}

// isFunc reports whether the callback that was set last through the Go API is this one, of whichever connection.
func isFunc(c *sqlite3.Conn, name string, callback any) bool {
	f := connField(c, name, reflect.Func)
	return f.IsValid() && !f.IsNil() && f.Pointer() == reflect.ValueOf(callback).Pointer()
}
