// Package postgres keeps tasks in PostgreSQL (15 or newer), for who outgrows one machine: many processes on many machines,
// one database. A store that [Open] returns does all that one on a file does, with the same errors.
//
//	st, err := postgres.Open(ctx, "postgres://service@db.example/app", tasks.Types("report"))
//
// The tables are in a schema of their own, which is made where needed, by one of the processes that start; nothing
// of it needs a superuser or an extension. [tasks.Copy] brings the tasks of a file there, and back.
//
// # What is different
//
// The server's clock stamps everything, and leases and delays are measured by it. If it is set, or another server with another clock
// takes over, leases and backoffs keep what they had left, once a process has noticed.
//
// [tasks.Durable] and [tasks.Relaxed] are PostgreSQL's synchronous_commit, on and off, per transaction. A relaxed change may be lost
// if the server crashes within three times wal_writer_delay (so 600ms by default), also if only PostgreSQL is killed, and never half
// of it. If the session's synchronous_commit is remote_apply or the like, durable is that.
// [tasks.Store.Sync] makes durable what was committed before it, by whichever process. [tasks.Store.Settle] asks the server whether there is need to:
// there is none for what was seen before, for what was committed durably, for what is on the disk, and on a standby. Where
// synchronous_standby_names is set, what is new to the process costs a commit.
//
// [tasks.Store.Changes] tells changes in the order of their transactions' numbers, so that a number to go on after is good for every process, and
// nothing is missed. So a transaction that has changed something and goes on, in any database of the server, holds back what is newer.
// [tasks.Store.Wait] and [tasks.Store.Notify] don't wait for that.
//
// Calls that come while all of the writers' connections are busy share the next transaction: see [Config].Writers.
//
// Who waits for a task of another process is told by NOTIFY, of which each process listens to one connection. Where that isn't to be had,
// as through a pooler in transaction mode, processes look at a log of changes every 1.5 s: see [Config].Poll.
//
// Counts read an index from one end to the other, which takes about 0.1s for a million tasks: don't ask for them all the time.
//
// # Faults
//
// A connection that is lost while a change is made is a [tasks.ErrOutcomeUnknown]: ask again by [tasks.Store.CreateOrGet], or look.
// A serialization failure or a deadlock is tried again. A server that restarts or fails over is waited for
// within the call's context and [Config].Patience. List all hosts in the URL, with target_session_attrs=read-write:
// a change that meets a standby is a [tasks.ErrReadOnly], and a [tasks.ErrBusy] since it may be one no more later, unless another host is the primary. A change of which a synchronous standby
// may know nothing, since the server was told not to wait for it, is a [tasks.ErrOutcomeUnknown], too.
//
// # Transactions of the application
//
// [InTx] makes changes in a transaction of pgx, so that a service which keeps its data in the same database changes both or neither.
package postgres
