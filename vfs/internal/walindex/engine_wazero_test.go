//go:build wazero

package walindex

import _ "github.com/ncruces/go-sqlite3/embed"
