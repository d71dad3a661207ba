package simdisk

import (
	"strings"
	"time"
)

// SyncTimes are the syncs of WALs and of the directory in a trace.
type SyncTimes []syncTime

// syncTime is when a sync of the WAL, or of the directory, was asked for and when it had ended.
type syncTime struct {
	dir         bool
	called, end time.Duration
}

// NewSyncTimes returns those of a trace.
func NewSyncTimes(trace []Event) (all SyncTimes) {
	for i := range trace {
		if e := &trace[i]; e.Kind == DirSyncStart || e.Kind == SyncStart && strings.HasSuffix(e.Name, "-wal") {
			end := time.Duration(1<<63 - 1)
			if e.Pair > 0 {
				end = trace[e.Pair].Time
			}
			all = append(all, syncTime{e.Kind == DirSyncStart, e.Called, end})
		}
	}
	return all
}

// Longest returns how long a sync took up to a time, with that of the directory of a new WAL.
func (all SyncTimes) Longest(now time.Duration) time.Duration {
	var longest [2]time.Duration
	for _, s := range all {
		if s.called < now {
			i := 0
			if s.dir {
				i = 1
			}
			longest[i] = max(longest[i], min(s.end, now)-s.called)
		}
	}
	return longest[0] + longest[1]
}
