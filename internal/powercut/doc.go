// Package powercut finds out what a power cut leaves of databases on this project's VFS,
// and holds that against what the VFS promises. The disk that loses power is that of package simdisk.
//
// # The workloads
//
// A [Plan] names a workload by a kind and a seed: up to eight connections at various levels, with checkpoints in the background or inline, among them
// some on the stock VFS, as another process would be, or in a second process on this VFS. They run in lockstep, in a synctest bubble:
// before each operation of the disk a seed says who goes on, and time passes only as it is let.
// So a workload is the same each time, syncs take the time that the plan says, and a violation can be replayed.
//
// A plan may have a fault: the n-th write, sync or the like fails, or several do, each counted from the one before.
// Then all connections are closed, the database is opened anew, and from then on nothing may go wrong.
//
//	neighbour  a process on the stock VFS stays open while ours fails, closes and opens anew
//	peer       so does a second process on this VFS
//	restarted  that other process restarts the WAL over and over, before and after our failure
//	successor  ours ends after the failure, and a second process on this VFS opens the database
//	partial    readers let one process bring over a part of the WAL, and the other one the rest
//
// These come with faults most of the time: a sync of the WAL, the directory or the database file that drops what it should have written
// (sync-lost), also one of the database file by the process on the stock VFS (db-lost, stock-lost),
// and after that an error on reading the WAL's header (header) or on opening the WAL-index (index), at the failure or as it is opened anew.
// The process on the stock VFS goes on at NORMAL and FULL. Once it is told of a failed sync of the WAL it only reads until ours has opened the database anew,
// since nothing keeps it from a checkpoint of what is lost, and it is never the last to close.
//
// # The oracle
//
// Each state is opened with the stock VFS, read, and some are written to, checkpointed and crashed again:
//
//   - I1: integrity_check is ok, and the journal mode is what it was.
//   - I2: the rows are those after some prefix of the commits.
//   - I3: the prefix holds every commit that was reported durable:
//     at FULL, or before an async_wait, async_mode=sync, or last close that returned.
//   - I4: it holds every commit at NORMAL but those of the last max_delay and one sync
//     (two where one takes longer than that), and no more than max_pending bytes of WAL are lost.
//   - I5: nothing is there that was rolled back or never committed.
//   - I6: the database can be written, checkpointed and closed, and I1 to I3 hold after a power cut in the midst of that.
//
// # The controls
//
// A machine that finds nothing may be blind. TestControls switches off one rule at a time, and counts
// the states until the first violation; with the rule on, the same workloads have none.
//
//	rule            workloads  crash states  first violation
//	H1                      1            55  I2: the rows of no prefix
//	H2                      1            90  I1: integrity_check fails
//	H3                      3          1843  I1: malformed
//	H4-create               2           619  I1: integrity_check fails
//	H4-delete               4          2196  I3: a commit in a rollback mode had returned
//	H5                      3          1556  I3: a commit had returned
//	H6                      1           210  I1: integrity_check fails
//	later-syncs            13          7786  I3: a commit at FULL had returned
//	group-wait              2           551  I3: a commit at FULL had returned
//	foreign-writes         19         13674  I1: malformed
//	clear-closed           21         12986  I3: a commit at FULL had returned
//	refresh                 3           651  I3: a commit had returned
//	publish                 5          1176  I3: async_wait had returned
//	one-backfill            3           909  I1: integrity_check fails
//	partial                 3           326  I2: the rows of no prefix
//	distrust                4           531  I2: the rows of no prefix
//	salts                   4           956  I3: a commit had returned
//	marker                  3           581  I3: async_wait had returned
//	doubt                  22          5680  I1: malformed
//
// Those of H4-delete, publish, one-backfill, partial, distrust and salts begin near the first workload that shows it,
// which otherwise is the 38th, 109th, 67th, 17th, 22nd and 28th.
//
// In every other workload syncs of the WAL run beside each other whenever they can, whether or not that pays.
//
// That a marker stays until all is durable matters to a process that is killed just then, and is held by a test of package vfs.
//
// # What it doesn't show
//
// The disk tells the truth: what a sync covered is durable. Writes don't damage what is beside them,
// unless the workload says psow=0. There is one directory, no mmap, and the operating system keeps its page cache:
// that a process is killed is the matter of other tests.
//
// After a failed sync a process doesn't know what others have made durable since its own last sync, or what was durable
// of a WAL that was there at open, and writes that once more, byte for byte.
// Where several processes meet a fault, or one meets several, a power cut leaves of a write to a sector its beginning or its end, as SQLite takes for granted,
// and not anything: then such a write does no harm.
package powercut
