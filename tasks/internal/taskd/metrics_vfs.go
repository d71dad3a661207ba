package taskd

import (
	"slices"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks/internal/promtext"
	"github.com/docusnap/asyncvfs/vfs"
)

// databaseMetrics are what is told of each database, by the names of package vfsmetrics.
var databaseMetrics = []struct {
	name string
	kind promtext.Kind
	help string
	of   func(vfs.Statistics) float64
}{
	{"asyncvfs_commits_total", promtext.Counter, "Commits in WAL mode.", func(s vfs.Statistics) float64 { return float64(s.Commits) }},
	{"asyncvfs_commit_cancelled_total", promtext.Counter, "Commits that were cancelled while they waited to become durable.", func(s vfs.Statistics) float64 { return float64(s.CancelledCommits) }},
	{"asyncvfs_sync_requests_total", promtext.Counter, "Requests for a sync.", func(s vfs.Statistics) float64 { return float64(s.SyncRequests) }},
	{"asyncvfs_sync_merged_total", promtext.Counter, "Requests that shared a sync with an earlier one.", func(s vfs.Statistics) float64 { return float64(s.Merged) }},
	{"asyncvfs_checkpoints_total", promtext.Counter, "Checkpoints that had something to do.", func(s vfs.Statistics) float64 { return float64(s.Checkpoints) }},
	{"asyncvfs_checkpoint_failures_total", promtext.Counter, "Checkpoints in the background that failed.", func(s vfs.Statistics) float64 { return float64(s.FailedCheckpoints) }},
	{"asyncvfs_wal_restarts_total", promtext.Counter, "Times that the WAL was started over.", func(s vfs.Statistics) float64 { return float64(s.WALRestarts) }},
	{"asyncvfs_commit_pending_commits", promtext.Gauge, "Commits at synchronous=NORMAL that aren't durable.", func(s vfs.Statistics) float64 { return float64(s.PendingCommits) }},
	{"asyncvfs_commit_pending_bytes", promtext.Gauge, "Bytes of the WAL that aren't durable.", func(s vfs.Statistics) float64 { return float64(s.PendingBytes) }},
	{"asyncvfs_commit_pending_age_seconds", promtext.Gauge, "Time since the oldest commit returned that isn't durable.", func(s vfs.Statistics) float64 { return seconds(s.OldestPendingMicros) }},
	{"asyncvfs_commit_loss_window_max_seconds", promtext.Gauge, "Longest time of the last minute for which a commit had returned and wasn't durable.", func(s vfs.Statistics) float64 { return seconds(s.LossWindow.RecentMaxMicros) }},
	{"asyncvfs_sync_duration_max_seconds", promtext.Gauge, "Longest sync of the last minute.", func(s vfs.Statistics) float64 {
		return seconds(max(s.WALSyncTime.RecentMaxMicros, s.DBSyncTime.RecentMaxMicros))
	}},
	{"asyncvfs_commit_wait_max_seconds", promtext.Gauge, "Longest time of the last minute that a commit at synchronous=FULL waited to become durable.", func(s vfs.Statistics) float64 { return seconds(s.CommitWait.RecentMaxMicros) }},
	{"asyncvfs_wal_size_bytes", promtext.Gauge, "Size of the WAL file.", func(s vfs.Statistics) float64 { return float64(s.WALBytes) }},
	{"asyncvfs_database_failed", promtext.Gauge, "1 once a sync has failed, and no commit is taken.", func(s vfs.Statistics) float64 { return one(s.Failed != "") }},
	{"asyncvfs_database_sync_mode", promtext.Gauge, "1 while every commit waits to become durable, whatever its level.", func(s vfs.Statistics) float64 { return one(s.Mode == vfs.Sync) }},
}

// databaseTimes are the histograms of each database.
var databaseTimes = []struct {
	name, help string
	of         func(vfs.Statistics) []labelledTimes
}{
	{"asyncvfs_wal_sync_duration_seconds", "Duration of syncs of the WAL.", func(s vfs.Statistics) []labelledTimes { return []labelledTimes{{nil, s.WALSyncTime}} }},
	{"asyncvfs_db_sync_duration_seconds", "Duration of syncs of the database file in WAL mode.", func(s vfs.Statistics) []labelledTimes { return []labelledTimes{{nil, s.DBSyncTime}} }},
	{"asyncvfs_commit_wait_duration_seconds", "Time that commits at synchronous=FULL waited to become durable.", func(s vfs.Statistics) []labelledTimes { return []labelledTimes{{nil, s.CommitWait}} }},
	{"asyncvfs_commit_stall_duration_seconds", "Time that commits waited because too much wasn't durable, or for a checkpoint.", func(s vfs.Statistics) []labelledTimes {
		return []labelledTimes{
			{[]string{"asyncvfs_stall_reason", vfs.StallPending.String()}, s.StallTime},
			{[]string{"asyncvfs_stall_reason", vfs.StallCheckpoint.String()}, s.HoldTime},
		}
	}},
}

// labelledTimes is one of the histograms of a family.
type labelledTimes struct {
	labels []string
	vfs.Histogram
}

// writeDatabases writes what the databases of the process have done since they were opened.
func writeDatabases(w *promtext.Writer, all []vfs.Statistics) {
	if len(all) == 0 {
		return // the store is elsewhere
	}
	// Of a file that was replaced, there may be two by one name for a while: no scrape has a series twice.
	slices.SortStableFunc(all, func(a, b vfs.Statistics) int { return strings.Compare(a.Database, b.Database) })
	all = slices.CompactFunc(all, func(a, b vfs.Statistics) bool { return a.Database == b.Database })
	for _, m := range databaseMetrics {
		w.Family(m.name, m.kind, m.help)
		for _, s := range all {
			w.Sample(promtext.Labels("asyncvfs_database", s.Database), m.of(s))
		}
	}
	var bounds []float64
	for _, b := range vfs.HistogramBounds() {
		bounds = append(bounds, b.Seconds())
	}
	for _, m := range databaseTimes {
		w.Family(m.name, promtext.Histogram, m.help)
		for _, s := range all {
			for _, h := range m.of(s) {
				w.Histogram(promtext.Labels(append([]string{"asyncvfs_database", s.Database}, h.labels...)...), bounds, h.Buckets[:], seconds(h.SumMicros))
			}
		}
	}
}

func seconds(micros int64) float64 { return (time.Duration(micros) * time.Microsecond).Seconds() }
