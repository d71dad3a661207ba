package vfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/docusnap/asyncvfs/vfs/internal/walindex"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// copy copies the pages of the frames after from, up to the frame to, each as its last frame has it.
func (b *backfiller) copy(file sqlitevfs.File, h walindex.Header, from, to uint32) error {
	if err := b.suits(file, h); err != nil {
		return err
	}
	numbers, err := b.index.PageNumbers(from+1, to)
	if err != nil {
		return err
	}
	frames := make(map[uint32]uint32, len(numbers))
	for i, page := range numbers {
		if page != 0 && page <= h.Pages {
			frames[page] = from + 1 + uint32(i)
		}
	}
	pages := make([]uint32, 0, len(frames))
	for page := range frames {
		pages = append(pages, page)
	}
	slices.Sort(pages)
	if err := b.grow(file, h); err != nil {
		return err
	}
	size := h.PageSize
	for len(pages) > 0 {
		first, run := pages[0], 0
		b.buf = b.buf[:0]
		for run < len(pages) && pages[run] == first+uint32(run) && len(b.buf) < backfillChunk {
			page := pages[run]
			if err := b.read(h, frames[page], page); err != nil {
				return err
			}
			run++
		}
		if b.stopped() {
			return errStopped
		}
		if first == 1 && hasChecksums(b.buf) {
			return errChecksums
		}
		err := b.db.writeDB(len(b.buf), func() error {
			_, err := file.WriteAt(b.buf, int64(first-1)*int64(size))
			return err
		})
		if err != nil {
			return err
		}
		pages = pages[run:]
	}
	return nil
}

// read appends a frame's page to the buffer.
func (b *backfiller) read(h walindex.Header, frame, page uint32) error {
	at := int64(walHeaderSize) + int64(frame-1)*int64(frameHeaderSize+h.PageSize)
	n := len(b.buf)
	b.buf = slices.Grow(b.buf, frameHeaderSize+h.PageSize)[:n+frameHeaderSize+h.PageSize]
	p := b.buf[n:]
	if n, err := b.db.walHandle().ReadAt(p, at); n < len(p) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read frame %d of the WAL: %w", frame, err)
	}
	if binary.BigEndian.Uint32(p) != page || !bytes.Equal(p[8:16], h.Salt[:]) {
		return fmt.Errorf("frame %d, page %d: %w", frame, page, errForeign)
	}
	copy(p, p[frameHeaderSize:])
	b.buf = b.buf[:n+h.PageSize]
	return nil
}

// suits reports an error if the database file isn't ours to write.
func (b *backfiller) suits(file sqlitevfs.File, h walindex.Header) error {
	if b.db.unsynced.Load() != nil {
		return errUnsynced
	}
	// A VFS that writes whole blocks keeps others from those meanwhile by locks that this handle doesn't have.
	if wraps(file) && h.PageSize%file.SectorSize() != 0 {
		return errSectors
	}
	var header [100]byte
	if n, err := file.ReadAt(header[:], 0); n < len(header) && err != nil && err != io.EOF {
		return err
	}
	if hasChecksums(header[:]) {
		return errChecksums
	}
	return nil
}

// hasChecksums reports whether go-sqlite3 takes the database for one with checksums, which a checkpoint has to compute.
//
// https://sqlite.org/cksumvfs.html
func hasChecksums(page1 []byte) bool { return len(page1) > 20 && page1[20] == 8 }

// grow tells the file system how long the database file will be.
func (b *backfiller) grow(file sqlitevfs.File, h walindex.Header) error {
	want := int64(h.Pages) * int64(h.PageSize)
	size, err := file.Size()
	if err != nil || size >= want {
		return err
	}
	// As SQLite: more than the WAL can have brought is corruption somewhere.
	if size+65536+int64(h.MaxFrame)*int64(h.PageSize) < want {
		return fmt.Errorf("%d pages: %w", h.Pages, errForeign)
	}
	return b.db.writeDB(0, func() error {
		// It is a hint, and an error of it isn't one.
		vfsutil.WrapSizeHint(file, want)
		return nil
	})
}
