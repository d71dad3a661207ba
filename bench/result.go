package bench

// Result is what a run came to.
type Result struct {
	Seconds        float64
	Commits, Reads int
	Commit, Read   Latency

	// LeastShare is how many commits and reads the connection with the fewest made, of an equal share.
	// Where it is low, few calls are slow, but those of some connections: percentiles hardly show that.
	LeastShare float64

	WALMiB   float64 // the largest size seen
	Restarts uint32  // of the WAL

	// What only this VFS tells; Syncs is 0 if it isn't known.
	Syncs        uint64
	WindowMicros int64 // the longest that a commit at NORMAL had returned and wasn't durable, warm-up included
	HeldMicros   int64 // the longest that a commit waited for a checkpoint, warm-up included
}

// Rate returns the commits per second, or the reads where nothing is committed.
func (r Result) Rate() float64 {
	if r.Commits == 0 {
		return float64(r.Reads) / r.Seconds
	}
	return float64(r.Commits) / r.Seconds
}

// Main returns the latencies of commits, or of reads where nothing is committed.
func (r Result) Main() Latency {
	if r.Commits == 0 {
		return r.Read
	}
	return r.Commit
}

// Metrics returns the result by the units of benchmarks.
func (r Result) Metrics() map[string]float64 {
	m := map[string]float64{}
	if r.Reads > 0 {
		m["reads/s"] = float64(r.Reads) / r.Seconds
	}
	if r.Commits > 0 {
		m["commits/s"] = r.Rate()
	}
	if r.WALMiB > 0 && r.Commits > 0 {
		m["wal-MiB"] = r.WALMiB
		m["wal-restarts"] = float64(r.Restarts)
	}
	m["least-share"] = r.LeastShare
	l := r.Main()
	m["p50-µs"], m["p99-µs"], m["p99.9-µs"], m["p99.99-µs"] = l.P50, l.P99, l.P999, l.P9999
	m["slowest-µs"] = l.Max
	if r.Commits > 0 && r.Reads > 0 {
		m["read-p50-µs"], m["read-p99.9-µs"] = r.Read.P50, r.Read.P999
	}
	if r.Syncs > 0 && r.Commits > 0 {
		m["syncs/commit"] = float64(r.Syncs) / float64(r.Commits)
		m["held-µs"] = float64(r.HeldMicros)
		if r.WindowMicros > 0 { // at NORMAL
			m["window-µs"] = float64(r.WindowMicros)
		}
	}
	return m
}
