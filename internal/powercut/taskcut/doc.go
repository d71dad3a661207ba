// Package taskcut finds out what a power cut leaves of a table of package tasks:
// stores of that package run on the simulated disk of package powercut, in lockstep.
//
// # The workloads
//
// A [Plan] names a workload by a kind and a seed: up to eight callers of one store, of two on the same file,
// or of two processes, one of which may be on the stock VFS. They create tasks, update, complete, cancel, retry and delete them,
// claim them and complete, fail or forget them, have handlers go through steps and report, take back many at once, limit and pause what is claimed,
// change tasks and report on them in transactions of the application, clean up, and use the cache, durably or relaxed, with results of a few bytes to many pages,
// while the application checkpoints, stores close and open again, and syncs hang or fail.
//
// # The oracle
//
// While a workload runs, nothing is lost: after each commit the database is read as it is then.
// These live states, in order, are held against the calls, each of which has noted when it began and returned:
// its effect has to be there by the time it returns, unless others changed the same meanwhile.
// So each call that returned is known to need one of the live states, or a later one. What a power cut leaves has to hold:
//
//   - I1: it opens, and integrity_check is ok.
//   - I2: it is not before the live state of a durable call that had returned: the task is there,
//     with that status and result or what came later. In no live state has a task a status that no call asked for,
//     and one that is completed stays so until it is deleted.
//   - I3: it is one of the live states so far, to the last column of the last row:
//     no change is there without all that were made before it, and none is there in part.
//   - I4: it is not before that of a relaxed call that returned longer ago than max_delay and a sync
//     (two, where one takes longer).
//   - I5: in each live state a result is whole, one that a call gave that task, and there if the task is completed, else only as a part
//     that a call has reported; so is how far the task is; a step has the result that was computed for it, which a handler
//     gets instead of computing it again, and none is left of a task that is completed;
//     the attempts are those that the task counts, and none is left of a task that is gone;
//     the application's documents and their tasks are changed, and reported on, both or neither.
//   - I6: in each live state the cache holds only what was computed for that key.
//   - I7: a store opens it, says what the live state holds, returns from the cache what is stored, or else computes it,
//     and goes on: handlers get the steps that are stored, and nothing is handed out that is paused;
//     and I1 to I3 hold after a power cut in the midst of that.
//   - I8: from no live state to the next one is a task handed out whose type is paused or at its limit.
//
// Durable are, unless a call says otherwise, what sets limits and what takes back tasks; relaxed are steps, reports and partial results.
//
// # The controls
//
// TestControls switches off one rule of the VFS at a time, and counts the states until the first violation;
// with the rule on, the same workloads have none. Early lets durable calls return before they wait for durability,
// and lost-sync takes a third of the syncs of the WAL away.
//
// TestCallsReturnEarly and TestRelaxedCallsInTime do the same for one kind of call at a time, and TestRowsAreHeld for each of the checks of tables.
//
//	control         workloads  crash states  first violation
//	early                   1            45  I2: a durable Create had returned
//	lost-sync               1            65  I2: a durable Create had returned
//	H1                      1            71  I3: the rows are those after no commit
//	H2                      1           109  I2: a durable Create had returned
//	H3                      1           259  I1: malformed
//	H4-create               1            53  I2: a durable Create had returned
//	H5                      3           993  I2: a durable Create had returned
//	H6                      1            53  I2: a durable Create had returned
//	group-wait              1           293  I2: a durable Report had returned
//	foreign-writes         23         11068  I1: malformed
//	clear-closed            1           101  I2: a transaction at FULL had returned
//	refresh                 3          1165  I2: a durable Create had returned
//
// Stores can't reach H4-delete: it matters for databases that leave WAL mode.
//
// # What it doesn't show
//
// On a disk whose writes may spoil what is beside them (psow=0), only stores on the stock VFS are tried:
// a store on this project's VFS commits at NORMAL, and only commits at FULL are safe there.
// Syncs fail only where a single process uses the database, on this project's VFS.
package taskcut
