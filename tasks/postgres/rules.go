package postgres

import "strings"

// switchedOff are safety rules that are switched off, so that a test can show that something breaks then. Only this package's tests can do so.
type switchedOff uint

const (
	// leaseAtEnd ends an attempt only for who has its lease.
	leaseAtEnd switchedOff = 1 << iota
	// skipLocked takes a task in the statement that locks it, and leaves alone what another claim has locked.
	skipLocked
	// unknownOutcome doesn't try again what may have been committed.
	unknownOutcome
	// syncPerCall sets synchronous_commit for each transaction as its calls want it, whatever the session has.
	syncPerCall
	// oneMigrates has one of many processes change the schema at a time.
	oneMigrates
	// lockExpired takes back a lease that has run out only while nobody else does that, or has done it.
	lockExpired
	// lockDue makes a task ready that has become due only while nobody else changes it.
	lockDue
	// lockOld deletes a task that is old only while nobody else changes it.
	lockOld
)

const skip = "\n\t\t\tFOR UPDATE SKIP LOCKED"

// ruleText is what keeps a rule in a statement, and what is there if it is switched off.
var ruleText = map[switchedOff][2]string{
	leaseAtEnd:  {"t.id=i.id AND t.lease=i.lease ", "t.id=i.id "},
	skipLocked:  {" FOR UPDATE OF t SKIP LOCKED", ""},
	syncPerCall: {"set_config('synchronous_commit',", "concat("},
	oneMigrates: {"pg_advisory_xact_lock($1)", "$1::bigint"},
	lockExpired: {"ORDER BY lease_until, id LIMIT $3" + skip, "ORDER BY lease_until, id LIMIT $3"},
	lockOld:     {"ORDER BY t.created_at, t.id LIMIT $6 FOR UPDATE SKIP LOCKED", "ORDER BY t.created_at, t.id LIMIT $6"},
	lockDue:     {"ORDER BY run_at LIMIT $3" + skip, "ORDER BY run_at LIMIT $3"},
}

// without takes the rules that are switched off from a statement.
func (off switchedOff) without(sql string) string {
	for rule, text := range ruleText {
		if off&rule != 0 {
			sql = strings.ReplaceAll(sql, text[0], text[1])
		}
	}
	return sql
}
