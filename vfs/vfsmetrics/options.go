package vfsmetrics

import (
	"go.opentelemetry.io/otel/attribute"
)

const (
	scopeVFS   = "github.com/docusnap/asyncvfs/vfs"
	scopeTasks = "github.com/docusnap/asyncvfs/tasks"

	// maxDatabases is how many paths get a series of their own. Those that come after are one.
	maxDatabases = 1000
	otherPath    = "other"
)

// The attributes.
const (
	keyDatabase   = attribute.Key("asyncvfs.database")
	keyReason     = attribute.Key("asyncvfs.stall.reason")
	keyBackground = attribute.Key("asyncvfs.checkpoint.background")
	keyError      = attribute.Key("error.type")

	keyType      = attribute.Key("tasks.type")
	keyStatus    = attribute.Key("tasks.status")
	keyOutcome   = attribute.Key("tasks.outcome")
	keyCancelled = attribute.Key("tasks.cancelled")
)

// An Option sets what [Register] measures.
type Option func(*config)

type config struct {
	databases []string
	nameless  bool
}

// Databases limits it to the databases of these paths. Default: all.
func Databases(paths ...string) Option {
	return func(c *config) { c.databases = append(c.databases, paths...) }
}

// WithoutDatabase adds all databases up, in counters and histograms, and takes the greatest of each gauge, for who has many.
// Without it the first 1000 paths are told apart, and all that come after are one database “other”.
func WithoutDatabase() Option { return func(c *config) { c.nameless = true } }
