//go:build !((linux || darwin) && (386 || arm || amd64 || arm64 || riscv64 || ppc64le || loong64) && !(sqlite3_flock || sqlite3_dotlk))

package walindex

// Supported says that [Open] may succeed.
const Supported = false

// Index is never made here.
type Index struct{}

// Open returns [ErrUnsupported].
func Open(string) (*Index, error) { return nil, ErrUnsupported }

// WithIOLock returns [ErrUnsupported].
func WithIOLock(string, bool, func() error) error { return ErrUnsupported }

func (*Index) Close() error                              { return nil }
func (*Index) Header() (Header, bool)                    { return Header{}, false }
func (*Index) Backfilled() uint32                        { return 0 }
func (*Index) SetBackfilled(uint32)                      {}
func (*Index) Attempted() uint32                         { return 0 }
func (*Index) SetAttempted(uint32)                       {}
func (*Index) ReadMark(int) uint32                       { return NoMark }
func (*Index) SetReadMark(int, uint32)                   {}
func (*Index) PageNumbers(_, _ uint32) ([]uint32, error) { return nil, ErrUnsupported }
func (*Index) TryLock(Lock) (bool, error)                { return false, ErrUnsupported }
func (*Index) Unlock(Lock) error                         { return ErrUnsupported }
func (*Index) Held(Lock) (bool, error)                   { return false, ErrUnsupported }
