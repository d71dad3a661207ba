package simdisk

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
)

// Choice says what a power cut leaves of what was written and not yet durable.
type Choice uint64

const (
	// None of it is left.
	None Choice = iota
	// All of it is left.
	All
	// From here on a choice is the seed of a random one:
	// for each sector, truncate and directory entry on its own.
	Random
)

func (c Choice) String() string {
	switch c {
	case None:
		return "none"
	case All:
		return "all"
	}
	return fmt.Sprint(uint64(c))
}

// sectorSize is what is kept or lost as one.
const sectorSize = 512

// tornSector is how a torn write of a sector looks.
type tornSector int

const (
	tornNoise tornSector = iota
	tornZeros
	tornOnes
	tornKinds
)

// Crash follows a trace and makes the states that a power cut leaves.
type Crash struct {
	cfg   Config
	trace []Event
	k     int
	files map[int]*crashFile
	names map[string]*crashName
}

// crashFile is what is known of a file after a part of the trace.
type crashFile struct {
	durable []byte
	pending []pendingWrite // first to last
	// newest is the event that each sector's durable bytes come from,
	// once a sync has failed: those before it that were lost are older.
	newest map[int64]int
	// cuts are the truncates that became durable since: what was lost before isn't behind them.
	cuts []int
}

// write returns a write to the file without what a durable truncate after it has cut off.
func (c *Crash) write(f *crashFile, p pendingWrite) *Event {
	w := &c.trace[p.event]
	for _, cut := range f.cuts {
		if size := c.trace[cut].Off; p.event < cut && w.Off+int64(len(w.Data)) > size {
			clipped := *w
			clipped.Data = w.Data[:max(0, size-w.Off)]
			w = &clipped
		}
	}
	return w
}

// pendingWrite is a write or a truncate that isn't durable.
type pendingWrite struct {
	event int
	// lost is set once a sync that should have written it has failed: none writes it any more.
	// A truncate is the file system's own, which keeps it in its journal.
	lost bool
}

// crashName is what is known of a directory entry.
type crashName struct {
	durable int // number of the file, or -1
	pending []int
}

// NewCrash returns the states of a trace of a disk that held img, durably, before it.
func NewCrash(img Image, cfg Config, trace []Event) *Crash {
	if cfg.SectorSize == 0 {
		cfg.SectorSize = 4096
	}
	c := &Crash{cfg: cfg, trace: trace, files: map[int]*crashFile{}, names: map[string]*crashName{}}
	for i, name := range slices.Sorted(maps.Keys(img)) {
		c.files[i] = &crashFile{durable: bytes.Clone(img[name])}
		c.names[name] = &crashName{durable: i}
	}
	return c
}

// Advance goes on to the state after the first k events of the trace.
func (c *Crash) Advance(k int) {
	for ; c.k < k; c.k++ {
		c.apply(c.k, &c.trace[c.k])
	}
}

func (c *Crash) file(id int) *crashFile {
	f := c.files[id]
	if f == nil {
		f = &crashFile{}
		c.files[id] = f
	}
	return f
}

func (c *Crash) apply(i int, e *Event) {
	switch e.Kind {
	case Write, Truncate:
		f := c.file(e.File)
		f.pending = append(f.pending, pendingWrite{event: i})
	case Link, Unlink:
		n := c.names[e.Name]
		if n == nil {
			n = &crashName{durable: -1}
			c.names[e.Name] = n
		}
		n.pending = append(n.pending, i)
	case SyncEnd:
		c.synced(c.file(e.File), e)
		if c.cfg.Ordered && e.Err == nil {
			c.syncedNames(e.Pair)
		}
	case DirSyncEnd:
		if e.Err == nil {
			c.syncedNames(e.Pair)
		}
	}
}

func (c *Crash) syncedNames(before int) {
	for _, n := range c.names {
		for len(n.pending) > 0 && n.pending[0] < before {
			n.durable = c.entry(n.pending[0])
			n.pending = n.pending[1:]
		}
	}
}

// entry is what a name stands for after a link or an unlink.
func (c *Crash) entry(event int) int {
	if e := &c.trace[event]; e.Kind == Link {
		return e.File
	}
	return -1
}

// synced ends a sync: all of the file that was written before its start is durable.
func (c *Crash) synced(f *crashFile, e *Event) {
	if e.Err != nil {
		for i := range f.pending {
			if f.pending[i].event < e.Pair && e.Lost {
				f.pending[i].lost = true
				if f.newest == nil {
					f.newest = map[int64]int{}
				}
			}
		}
		return
	}
	// A sector that was lost and then written again goes to the disk as a whole: where writes may spoil what is beside them, one of the disk's.
	unit := int64(1)
	if !c.cfg.Powersafe {
		unit = max(1, int64(c.cfg.SectorSize)/sectorSize)
	}
	var dirty map[int64]bool
	if f.newest != nil {
		dirty = map[int64]bool{}
		for _, p := range f.pending {
			if w := &c.trace[p.event]; p.event < e.Pair && !p.lost && w.Kind == Write {
				for s := range sectors(w) {
					dirty[s/unit] = true
				}
			}
		}
	}
	left := f.pending[:0:0]
	for _, p := range f.pending {
		w := c.write(f, p)
		switch {
		case p.event >= e.Pair:
			left = append(left, p)
		case w.Kind == Truncate:
			f.durable = resize(f.durable, w.Off)
			if f.newest != nil {
				f.cuts = append(f.cuts, p.event)
			}
		case f.newest == nil:
			f.durable = put(f.durable, w.Data, w.Off)
		default:
			whole := true
			for s, part := range sectors(w) {
				switch {
				case !dirty[s/unit]:
					whole = false
				case f.newest[s] <= p.event:
					f.durable = put(f.durable, w.Data[part.from:part.to], w.Off+part.from)
					f.newest[s] = p.event
				}
			}
			if !whole {
				left = append(left, p)
			}
		}
	}
	f.pending = left
}

// part is the part of a write that lies in one sector.
type part struct{ from, to int64 }

// sectors returns the parts of a write by sector.
func sectors(w *Event) func(func(int64, part) bool) {
	return func(yield func(int64, part) bool) {
		for from := int64(0); from < int64(len(w.Data)); {
			s := (w.Off + from) / sectorSize
			to := min(int64(len(w.Data)), (s+1)*sectorSize-w.Off)
			if !yield(s, part{from, to}) {
				return
			}
			from = to
		}
	}
}

// Image returns what is on the disk if the power is cut here.
func (c *Crash) Image(choice Choice) Image {
	r := rand.New(rand.NewPCG(uint64(choice), uint64(c.k)))
	img := Image{}
	// Where the order is kept, entries are as they were before some event.
	cut := c.k
	if c.cfg.Ordered && choice >= Random {
		cut = r.IntN(c.k + 1)
	}
	for _, name := range slices.Sorted(maps.Keys(c.names)) {
		n := c.names[name]
		id := n.durable
		upTo := len(n.pending)
		if choice >= Random && !c.cfg.Ordered {
			upTo = r.IntN(len(n.pending) + 1)
		}
		for i, event := range n.pending {
			if choice != None && i < upTo && event < cut {
				id = c.entry(event)
			}
		}
		if id < 0 {
			continue
		}
		img[name] = c.content(id, choice, r)
	}
	return img
}

// content returns what is left of a file.
func (c *Crash) content(id int, choice Choice, r *rand.Rand) []byte {
	f := c.file(id)
	data := bytes.Clone(f.durable)
	if choice == None || len(f.pending) == 0 {
		return data
	}
	first, last := f.pending[0].event, f.pending[len(f.pending)-1].event
	// How much of this file got to the disk differs from state to state.
	keepAll, keepNone, torn := 1.0, 0.0, 0.0
	if choice >= Random {
		switch r.IntN(5) {
		case 0: // nearly everything
			keepAll, keepNone = 0.95, 0.01
		case 1: // nearly nothing
			keepAll, keepNone = 0.05, 0.9
		case 2: // written back at one moment
			keepAll, keepNone = 0, 0
			first = first + r.IntN(last-first+1)
			last = first
		default:
			keepAll = r.Float64()
			keepNone = r.Float64() * (1 - keepAll)
		}
		torn = [...]float64{0, 0.1, 0.5}[r.IntN(3)]
	}
	// cuts says of each sector when it was written back: what came later isn't in it.
	cuts := map[int64]int{}
	written := int64(len(data))
	for _, p := range f.pending {
		w := c.write(f, p)
		if w.Kind == Truncate {
			written = w.Off
			if choice == All || r.IntN(2) == 0 {
				data = resize(data, w.Off)
			}
			continue
		}
		if len(w.Data) > 0 {
			written = max(written, w.Off+int64(len(w.Data)))
		}
		for s, part := range sectors(w) {
			if event, ok := f.newest[s]; ok && event >= p.event {
				continue // durable, or overwritten by what is
			}
			cut, seen := cuts[s]
			if !seen {
				switch x := r.Float64(); {
				case x < keepAll:
					cut = c.k
				case x < keepAll+keepNone:
					cut = 0
				default:
					cut = first + r.IntN(last-first+1)
				}
				cuts[s] = cut
			}
			piece := w.Data[part.from:part.to]
			switch {
			case cut < 0:
			case p.event < cut || cut == c.k:
				data = put(data, piece, w.Off+part.from)
			default:
				if r.Float64() < torn {
					data = c.tear(data, w.Off+part.from, piece, r)
				}
				cuts[s] = -1
			}
		}
	}
	// The size may be there before what it was made for.
	if choice >= Random && int64(len(data)) < written && r.IntN(4) == 0 {
		data = resize(data, written)
	}
	return data
}

// tear spoils the bytes that a write was to put at off, or all of their sector.
func (c *Crash) tear(data []byte, off int64, piece []byte, r *rand.Rand) []byte {
	from, to := off, off+int64(len(piece))
	if c.cfg.Linear {
		if n := r.Int64N(to - from + 1); r.IntN(2) == 0 {
			return put(data, piece[:n], from)
		} else {
			return put(data, piece[n:], from+n)
		}
	}
	if !c.cfg.Powersafe {
		size := int64(c.cfg.SectorSize)
		from = from / size * size
		to = min((to+size-1)/size*size, max(to, int64(len(data))))
	}
	spoilt := make([]byte, to-from)
	switch tornSector(r.IntN(int(tornKinds))) {
	case tornOnes:
		for i := range spoilt {
			spoilt[i] = 0xff
		}
	case tornNoise:
		for i := range spoilt {
			spoilt[i] = byte(r.Uint32())
		}
	}
	return put(data, spoilt, from)
}

// Suffixes are those of the files that belong to a database.
var Suffixes = [...]string{"", "-wal", "-journal"}

var hashSeed = maphash.MakeSeed()

// Hash returns a hash of the files that belong to a database. It differs from process to process.
func (img Image) Hash(db string) uint64 {
	var h maphash.Hash
	h.SetSeed(hashSeed)
	for _, suffix := range Suffixes {
		data, ok := img[db+suffix]
		fmt.Fprint(&h, ok, len(data))
		h.Write(data)
	}
	return h.Sum64()
}
