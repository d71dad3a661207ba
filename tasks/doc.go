// Package tasks keeps document-processing tasks, their status and their results in an SQLite table.
//
// A service creates a task, reports its progress and its result, and answers its clients' polls:
//
//	st, err := tasks.Open(ctx, "tasks.db")
//	err = st.Create(ctx, id, tasks.Document)
//	err = st.Update(ctx, id, tasks.Processing, nil)
//	err = st.Progress(ctx, id, half)
//	err = st.Update(ctx, id, tasks.Completed, result)
//	res, err := st.Result(ctx, id)
//	err = res.Decode(&v)
//
// # The table
//
// It is that of DocuSnap's Python module, with columns added that have defaults,
// so that module goes on working on the same file at the same time:
//
//	tasks(id TEXT PRIMARY KEY, type TEXT NOT NULL, status TEXT NOT NULL, result TEXT,
//	      created_at INTEGER NOT NULL, updated_at INTEGER, ...)
//
// What changes often or may be large is in tables beside it; triggers keep counts and leases right whoever changes a task,
// replaces it, or gives it another id.
// The work of a call doesn't grow with tasks that it doesn't concern: those that wait for their time, are done, or belong to others.
//
// An id is 1 to 255 bytes of UTF-8 without control characters, compared byte by byte. A result is any JSON in UTF-8,
// up to 16 MiB (see [MaxResult]), with text outside ASCII unescaped. A task's times are whole seconds since 1970, in UTC,
// in the years 0 to 9999; those of attempts and leases are in milliseconds.
// A file that the Python module or an older version has made is brought up to date when it is opened;
// one of a newer version is refused and left alone. Types and statuses that others have written are returned as they are,
// and so are results: what isn't JSON is an error of [Result.Decode]. A time that isn't one is an error of [Store.Status];
// lists leave out such a task, and one whose id isn't a text. A table that isn't this one is a [*TableError] of [Open].
// [ReadOnly] looks at a file of any version without writing to it. No folder for temporary files is needed: a container may have none.
//
// # Transitions
//
// A task is [Pending], then [Processing], then [Completed] or [Error]. Steps may be skipped, but it only goes forward;
// [Store.Retry] takes a task from Error back to Pending. Anything else is a [*TransitionError],
// unless the call has the option [Force]. The check and the change are one statement:
// of two workers that report the same task, one wins. [Store.Progress] stores a partial result and leaves the status.
//
// # Creating
//
// A task may carry its input ([Input]), which its handler gets wherever it runs, belong to an owner ([Owner]) and have labels
// ([WithLabels]) to list by, a priority ([Priority]), a time before which it isn't run ([RunAt]), and its own attempts, backoff and timeout.
// [Store.CreateOrGet] and [UniqueKey] make a call that may be made again; [FromCache] completes a task whose result is known.
//
// # Workers
//
// [Store.Run] claims tasks, runs their handlers, and completes or fails them. A claim is a lease, of 1 minute by default:
// a task whose worker is gone is taken back and tried again, after a backoff and up to 5 attempts
// (see [LeaseTime], [Backoff] and [MaxAttempts]). A task may so be worked on more than once, but only the holder of
// its lease can report on it. A handler whose task is cancelled, deleted or taken back learns that from its context.
// [Store.Claim], [Store.Extend], [Store.Complete], [Store.Fail] and [Store.GiveBack] are the parts of it.
//
// A handler's error may be [Permanent], or one of [Snooze], which counts no attempt. [Timeout] bounds attempts; a handler that hangs
// loses its slot and is reported. What the next attempt needn't do again it keeps by [Step]. A worker that dies costs an attempt
// only the task that can have killed it alone: the others are suspects, and a process has those one at a time.
// A handler that writes rows of the application's own completes its task in the same transaction: see [Tx.Complete].
// [Store.Pause] and [Store.SetLimits] hold for a type in all processes. [Hooks] and [Logger] tell what happens.
//
// # The cache
//
// [Store.Do] returns the stored result of the same input, and computes it once, however many ask for it at the same time,
// in all processes. Results are kept for ever by default (see [CacheTTL]), up to 100,000 of them and 1 GiB
// (see [CacheMaxEntries] and [CacheMaxBytes]).
//
// # Waiting
//
// [Store.Wait] and [Store.Watch] notice a change by the same process at once, and one by another within [ChangePoll], 100 ms.
// Triggers write down which tasks have changed, whoever changes them; one connection looks at what is new there, for all who wait.
// Those whose tasks rest cost one statement each 100 ms all together, and about 5 KB each: thousands may wait.
//
// Calls that read share so many connections as [Readers] says, and wait for one.
//
// # Cleanup
//
// [Store.Cleanup] deletes old tasks, and [Store.RunJanitor] does so daily, those that were done 7 days ago or before by default,
// or that nobody has read for that long (see [Janitor].ByUse). It spares what isn't done. A clock that was set makes nothing old:
// an age is the time that has passed. What others have written without a time that tells its age goes only with all else.
//
// # Clocks
//
// Times that are kept are the clock's. Leases and backoffs are spans: a process that sees its clock set, which it tells by the monotonic one,
// moves them along, once for all processes. So does, on Linux, one that starts after the step, if the host wasn't restarted meanwhile;
// elsewhere it relies on those that run.
//
// # Durability
//
// A call that changes something returns once that is durable, so that a power cut can't take it back,
// or, with the option [Relaxed], as soon as it is made: a power cut may lose it for a bounded time after that,
// as it may a commit at NORMAL in [the table of what is guaranteed].
// What is lost at worst is a status or a new task, never the order of changes and never the table:
// if a change is durable, so are all that were made before it, and [Store.Sync] waits until all are.
// Who reads may see a change a moment before it is durable: [Store.Settle] waits until what was read is, without a sync where it is already.
// Calls that come at the same time share transactions and fsyncs.
// Claims, extended leases, progress and what the cache stores don't wait for durability unless told to;
// what a power cut takes of them is done again.
//
// # Errors
//
// An error names the operation and the task, and wraps its cause for [errors.Is] and [errors.As]:
// [ErrNotFound], [ErrExists], [ErrInputDiffers], [ErrTransition], [ErrInvalid], [ErrTooLarge], [ErrBusy], [ErrBroken], [ErrNoTask], [ErrLeaseLost], [ErrNoResult], [ErrReadOnly], [ErrClosed],
// the context's error, or that of the backend. After an error nothing has changed, with three exceptions:
// [ErrOutcomeUnknown]; what [Store.Cleanup] and [Store.InvalidateType] had deleted before they failed;
// and a change that was made but whose fsync failed, which the text says.
// A call whose context is done returns at once, whoever holds the write lock; otherwise it waits up to 10 s for the lock.
//
// [the table of what is guaranteed]: https://github.com/docusnap/asyncvfs#what-is-guaranteed
package tasks
