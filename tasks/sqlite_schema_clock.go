package tasks

// clockSchema adds what is needed to tell by how much a clock was set, also for a process that starts after that,
// and when the cache's leases were taken.
const clockSchema = `
	ALTER TABLE task_cache ADD COLUMN leased_at INTEGER;
	ALTER TABLE task_clock_steps ADD COLUMN since INTEGER; -- the earliest time of the new clock
	CREATE TABLE task_clocks(
		host TEXT PRIMARY KEY, -- and when it was started
		ahead INTEGER NOT NULL, -- of the clock that nobody sets, in milliseconds
		seen_at INTEGER NOT NULL
	) WITHOUT ROWID;`
