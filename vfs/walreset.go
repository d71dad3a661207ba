package vfs

import (
	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
)

// SQLite before 3.51.3 may say that the database file has more frames than the WAL has ("WAL-reset bug"):
// a checkpoint looks at the header, all of whose frames are in the database file. Then a commit starts the WAL over,
// which sets nBackfill to 0. The checkpoint takes this for work to do, and at the end sets nBackfill to the number of frames
// that there were before. Once the WAL is longer than that, those frames of the new WAL are never brought over.
//
// https://sqlite.org/wal.html#walresetbug

// walMarks is what of the WAL-index says how far a checkpoint is. See [walindex.Index].
type walMarks interface {
	Header() (walindex.Header, bool)
	Backfilled() uint32
}

// mayPublish reports whether nBackfill may be set to upTo, where the frames of h's WAL after from were brought over.
// The caller has the [walindex.Checkpoint] lock. It can't be told while a commit writes the header.
func mayPublish(x walMarks, h walindex.Header, from, upTo uint32) (may, told bool) {
	// nBackfill first. Another one may have brought over all before the caller had the lock. Then the WAL may be started over
	// at any moment, which writes the header and then sets nBackfill to 0: who looks the other way round
	// may see the old header and the new nBackfill.
	done := x.Backfilled()
	live, ok := x.Header()
	// While frames are left it can't be started over.
	// What was taken back meanwhile, since a sync has failed, wasn't copied again.
	return ok && live.Salt == h.Salt && from <= done && done < upTo, ok
}

// mend has all frames brought over once more if nBackfill counts more than there are.
// It does no harm as long as the WAL is shorter than that: nobody takes it for brought over as a whole.
// It returns false if nBackfill may still be too large.
func (b *backfiller) mend() (bool, error) {
	if ok, err := b.index.TryLock(walindex.Checkpoint); err != nil || !ok {
		return false, err
	}
	defer b.index.Unlock(walindex.Checkpoint)
	// Who starts the WAL over, and has written the header but not yet nBackfill, has this lock.
	if ok, err := b.index.TryLock(walindex.Read(0)); err != nil || !ok {
		return false, err
	}
	defer b.index.Unlock(walindex.Read(0))
	h, err := b.header()
	if err != nil {
		return false, err
	}
	done := b.index.Backfilled()
	if done <= h.MaxFrame {
		return true, nil
	}
	// Others of this VFS may have copied as far as that, and not published it yet.
	b.index.SetAttempted(h.MaxFrame)
	b.index.SetBackfilled(0)
	b.db.log().Warn("asyncvfs: another process has said that the database file has more than the WAL, as SQLite before 3.51.3 may; all is brought over once more",
		"database", b.db.name, "frames", h.MaxFrame, "said", done)
	return true, nil
}
