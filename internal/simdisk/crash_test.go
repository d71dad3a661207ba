package simdisk

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// crash returns the states that a power cut leaves at the end.
func crash(d *Disk, img Image) *Crash {
	c := NewCrash(img, d.cfg, d.Trace())
	c.Advance(len(c.trace))
	return c
}

// fill returns sectors that the letters fill.
func fill(letters string) (data []byte) {
	for _, l := range []byte(letters) {
		data = append(data, bytes.Repeat([]byte{l}, sectorSize)...)
	}
	return data
}

// letters is the inverse. 0 is zeros, 1 is ones, ? is noise, and <ab> is a sector of two halves.
func letters(data []byte) (s string) {
	letter := func(p []byte) string {
		switch b := p[0]; {
		case bytes.Count(p, []byte{b}) < len(p):
			return "?"
		case b == 0:
			return "0"
		case b == 0xff:
			return "1"
		default:
			return string(b)
		}
	}
	for p := range slices.Chunk(data, sectorSize) {
		half := min(len(p), sectorSize/2)
		l, r := letter(p[:half]), letter(p[len(p)-half:])
		if l != r {
			l = "<" + l + r + ">"
		}
		s += l
	}
	return s
}

var unit = regexp.MustCompile(`\[.*?\]|<..>|.`)

// expand returns what patterns stand for: [ab] is a or b.
func expand(patterns string) (all []string) {
	for _, pattern := range strings.Split(patterns, " ") {
		some := []string{""}
		for _, u := range unit.FindAllString(pattern, -1) {
			choices := []string{u}
			if u[0] == '[' {
				choices = unit.FindAllString(u[1:len(u)-1], -1)
			}
			var longer []string
			for _, s := range some {
				for _, c := range choices {
					longer = append(longer, s+c)
				}
			}
			some = longer
		}
		all = append(all, some...)
	}
	return all
}

// requireStates requires that random states show all of these, and nothing else.
func requireStates(t *testing.T, c *Crash, want []string, show func(Image) string) {
	t.Helper()
	unseen := map[string]bool{}
	for _, s := range want {
		unseen[s] = true
	}
	for n := range Choice(40000) {
		if n > 1000 && len(unseen) == 0 {
			return
		}
		got := show(c.Image(Random + n))
		if !slices.Contains(want, got) {
			require.Fail(t, "must not be", "%q, choice %s: want one of %q", got, Random+n, want)
		}
		delete(unseen, got)
	}
	require.Empty(t, unseen, "never seen")
}

// TestCrashContent plays scripts on a file. Whatever they do, All is what the disk holds.
func TestCrashContent(t *testing.T) {
	for _, test := range []struct{ name, before, script, none, random string }{
		{"a write alone", "o", "w0a", "o", "[oa01?]"},
		{"each sector on its own", "ooo", "w0aaa", "ooo", "[oa01?][oa01?][oa01?]"},
		{"also of different writes", "oo", "w0a w1b", "oo", "[oa01?][ob01?]"},
		{"a write across sectors", "oo", "m0a", "oo", "[o<oa><o0><o1><o?>][o<ao><0o><1o><?o>]"},
		{"versions of a sector", "o", "w0a w0b w0c", "o", "[oabc01?]"},
		{"differ from sector to sector", "oo", "w0aa w0bb", "oo", "[oab01?][oab01?]"},
		{"come in order", "o", "h0a H0b", "o", "[o<0o><1o><?o><ao><a0><a1><a?><ab>]"},
		{"of one half", "o", "h0a h0b", "o", "[o<0o><1o><?o><ao><bo>]"},
		{"growth", "o", "w1ab", "o", "o o[a01?] o[a01?][b01?]"},
		{"a hole", "o", "w2a", "o", "o o0[a01?]"},

		{"a sync covers what was written before", "oo", "w0a s", "ao", "ao"},
		{"but not behind", "oo", "w0a s w1b", "ao", "a[ob01?]"},
		{"nor after its start", "oo", "w0a s( w1b )", "ao", "a[ob01?]"},
		{"nor in the same sector", "o", "w0a s( w0b )", "a", "[ab01?]"},
		{"nor a truncate", "ooo", "w0a s( t1 )", "aoo", "aoo a"},
		{"the next sync covers that", "oo", "w0a s( w1b ) s", "ab", "ab"},
		{"a sync within another", "ooo", "w0a s( w1b s w2c )", "abo", "ab[oc01?]"},
		{"durable versions don't come back", "o", "w0a s w0b", "a", "[ab01?]"},

		{"a truncate is there or not", "oooo", "t1", "oooo", "oooo o"},
		{"one that makes it longer", "o", "t3", "o", "o o00"},
		{"after a sync it stays", "oooo", "t1 s", "o", "o"},
		{"one that grew, too", "o", "t3 s", "o00", "o00"},
		{"what was cut off doesn't come back", "ooo", "t1 s w2a", "o", "o o0[a01?]"},
		{"a truncate behind a write", "ooo", "w1a t1", "ooo", "o o[oa01?]o"},
		{"and before one", "ooo", "t1 w1a", "ooo", "o o[0a1?] o[oa01?]o"},
		{"in between", "oo", "w1a t1 w1b", "oo", "o o[b01?] o[oab01?]"},

		{"what a failed sync covered may be there or not", "oo", "w0a x", "oo", "[oa01?]o"},
		{"the next one makes it durable", "oo", "w0a x s", "ao", "ao"},
		{"also with what came while it failed", "oo", "w0a x( w1b ) s", "ab", "ab"},
		{"what was durable stays", "ooo", "w0a s w1b x", "aoo", "a[ob01?]o"},
		{"what was durable stays if it is for good", "ooo", "w0a s w1b X", "aoo", "a[ob01?]o"},
		{"a failed truncate", "ooo", "t1 x", "ooo", "ooo o"},

		{"what is lost isn't written by the next sync", "oo", "w0aa X s", "oo", "[oa01?][oa01?]"},
		{"nor by one after it", "o", "w0a X s X s x s", "o", "[oa01?]"},
		{"nor with another sector", "oo", "w0a X w1b s", "ob", "[oa01?]b"},
		{"nor where a sync failed before that one", "o", "w0a x X s", "o", "[oa01?]"},
		{"a sector that is written again is written as a whole", "oo", "w0aa X h0b s", "<ba>o", "<ba>[oa01?]"},
		{"or written while the sync fails", "oo", "w0aa X( h0b ) s", "<ba>o", "<ba>[oa01?]"},
		{"but that needs a sync", "o", "w0a X h0b", "o", "[oa01?<ba><0a><1a><?a>]"},
		{"that doesn't fail", "o", "w0a X h0b X s", "o", "[oa01?<ba><0a><1a><?a>]"},
		{"a write that comes later is lost on its own", "oo", "w0a X w1b X w0c s", "co", "c[ob01?]"},
		{"a lost version doesn't come back", "oo", "w0aa X w0b s w0c", "bo", "[bc01?][oa01?]"},
		{"a sync that began before it doesn't write it", "o", "w0a s( X )", "o", "[oa01?]"},
		{"and one that ended before is not harmed", "o", "w0a X( s )", "a", "a"},
		{"one that began behind doesn't count either", "o", "w0a X s( h0b )", "o", "[oa01?<ba><0a><1a><?a>]"},
		{"a lost version doesn't come back later", "oo", "w0aa X w0b s h0c s", "<cb>o", "<cb>[oa01?]"},
		{"a lost write and a truncate", "ooo", "w2a X t1", "ooo", "oo[oa01?] o"},
		{"one that is durable", "ooo", "w2a X t1 s", "o", "o"},
		{"it isn't written again then", "ooo", "w2a X t1 s h2b s", "o0b", "o0b"},
		{"nor shows when the file grows", "ooo", "w1aa X t2 s t3 s", "oo0", "o[oa01?]0"},
		{"but what isn't cut off", "oo", "w0a X t1 s", "o", "[oa01?]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			img := Image{"f": fill(test.before)}
			p := newPlayer(t, img, Config{Powersafe: true}).play(strings.Fields(test.script)...)
			c := crash(p.d, img)
			show := func(img Image) string { return letters(img["f"]) }
			require.Equal(t, test.none, show(c.Image(None)), "none")
			require.Equal(t, test.before, show(img), "what it began with stays")
			require.Equal(t, show(p.d.Image()), show(c.Image(All)), "all")
			requireStates(t, c, expand(test.random), show)
		})
	}
}

// TestCrashSteps cuts the power after each event.
func TestCrashSteps(t *testing.T) {
	img := Image{"f": fill("oo")}
	p := newPlayer(t, img, Config{}).play("w0a", "s(", "w1b", ")")
	asked := false
	p.d.cfg.Gate = func(op Op) {
		if op.Kind == SyncStart && !asked {
			asked = true // this one comes after the call and before the start
			must(p.f.WriteAt(fill("c"), sectorSize))
		}
	}
	require.NoError(t, p.f.Sync(0))
	c := NewCrash(img, p.d.cfg, p.d.Trace())
	var none, all []string
	for k := range len(c.trace) + 1 {
		c.Advance(k)
		none, all = append(none, letters(c.Image(None)["f"])), append(all, letters(c.Image(All)["f"]))
	}
	require.Equal(t, strings.Fields("oo oo oo oo ao ao ao ac"), none)
	require.Equal(t, strings.Fields("oo ao ao ab ab ac ac ac"), all)
}

// TestCrashMany needs more sectors than can be spelt out.
func TestCrashMany(t *testing.T) {
	const n = 32
	require.Equal(t, 512, sectorSize)
	img := Image{"f": fill("o")}
	p := newPlayer(t, img, Config{})
	for i := range int64(n) {
		must(p.f.WriteAt(fill("a"), sectorSize*(1+i)))
	}
	c := crash(p.d, img)
	seen := map[string]bool{}
	for i := range Choice(10000) {
		seen[letters(c.Image(Random + i)["f"])] = true
	}
	require.True(t, seen["o"+strings.Repeat("0", n)], "size without data")
	for i := range n {
		require.True(t, seen["o"+strings.Repeat("a", i)], "as it was when %d were written", i)
	}
}

// TestCrashHarm: a write that is torn harms the bytes beside it only without powersafe overwrite, and only in its sector.
func TestCrashHarm(t *testing.T) {
	const size = 5*4096 - 1000
	writes := [][2]int64{{5000, 5100}, {8100, 8300}, {size - 10, size - 5}}
	for _, cfg := range []Config{
		{Powersafe: true}, {Powersafe: true, SectorSize: 512}, {}, {SectorSize: 512}, {SectorSize: 8192},
	} {
		t.Run(fmt.Sprintf("%t-%d", cfg.Powersafe, cfg.SectorSize), func(t *testing.T) {
			img := Image{"f": bytes.Repeat([]byte("o"), size)}
			p := newPlayer(t, img, cfg)
			want, sector := make([]bool, size), int64(cmp.Or(cfg.SectorSize, 4096))
			for _, w := range writes {
				must(p.f.WriteAt(bytes.Repeat([]byte("a"), int(w[1]-w[0])), w[0]))
				from, to := w[0], w[1]
				if !cfg.Powersafe {
					from, to = from/sector*sector, min(size, (to+sector-1)/sector*sector)
				}
				for i := from; i < to; i++ {
					want[i] = true
				}
			}
			c, got := crash(p.d, img), make([]bool, size)
			for n := range Choice(2000) {
				data := c.Image(Random + n)["f"]
				require.Len(t, data, size)
				for i, b := range data {
					got[i] = got[i] || b != 'o'
				}
			}
			require.Equal(t, want, got)
		})
	}
}

// TestCrashNames plays scripts on a directory that holds f and x, where the order of changes isn't kept, and where it is.
func TestCrashNames(t *testing.T) {
	for _, test := range []struct{ script, none, random, orderedNone, orderedRandom string }{
		{"+a +b", "fx", "fx afx bfx abfx", "fx", "fx afx abfx"},
		{"+b +a", "fx", "fx afx bfx abfx", "fx", "fx bfx abfx"},
		{"-x +a", "fx", "fx f afx af", "fx", "fx f af"},
		{"+a -a", "fx", "fx afx", "fx", "fx afx"},
		{"-x +x", "fx", "fx f", "fx", "fx f"},
		{"+a d +b", "afx", "afx abfx", "afx", "afx abfx"},
		{"-x d", "f", "f", "f", "f"},
		{"+a d( +b ) +c", "afx", "afx abfx acfx abcfx", "afx", "afx abfx abcfx"},
		{"+a D", "fx", "fx afx", "fx", "fx afx"},
		{"+a s +b", "fx", "fx afx bfx abfx", "afx", "afx abfx"},
		{"+a -x s( +b )", "fx", "fx afx bfx abfx f af bf abf", "af", "af abf"},
		{"+a x", "fx", "fx afx", "fx", "fx afx"},
		{"+a x s", "fx", "fx afx", "afx", "afx"},
	} {
		t.Run(test.script, func(t *testing.T) {
			for ordered, want := range map[bool][2]string{
				false: {test.none, test.random}, true: {test.orderedNone, test.orderedRandom},
			} {
				img := Image{"f": nil, "x": nil}
				p := newPlayer(t, img, Config{Ordered: ordered}).play(strings.Fields(test.script)...)
				c := crash(p.d, img)
				show := func(img Image) string { return strings.Join(slices.Sorted(maps.Keys(img)), "") }
				require.Equal(t, want[0], show(c.Image(None)), ordered)
				require.Equal(t, show(p.d.Image()), show(c.Image(All)), ordered)
				requireStates(t, c, strings.Fields(want[1]), show)
			}
		})
	}
}

// TestCrashNameAgain: a file that is made under a name that another had is another file.
func TestCrashNameAgain(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		img := Image{"f": fill("o")}
		p := newPlayer(t, img, Config{Powersafe: true, Ordered: ordered}).play("-f")
		show := func(img Image) string { return fmt.Sprint(len(img)) + letters(img["f"]) }
		requireStates(t, crash(p.d, img), []string{"0", "1o"}, show)
		again := handle(p.d, "f")
		p.play("w0a") // to the old one
		must(again.WriteAt(fill("nn"), 0))
		requireStates(t, crash(p.d, img), append(expand("1[oa01?] 1 1[n01?] 1[n01?][n01?]"), "0"), show)
		require.NoError(t, again.Sync(0))
		if !ordered {
			requireStates(t, crash(p.d, img), append(expand("1[oa01?]"), "0", "1nn"), show)
			p.play("d")
		}
		requireStates(t, crash(p.d, img), []string{"1nn"}, show)
	}
}

// TestCrashModel does random things. After each of them None is what a simple model says, and All is what the disk holds.
func TestCrashModel(t *testing.T) {
	for seed := range uint64(40) {
		r, img := rand.New(rand.NewPCG(seed, 0)), Image{"a": fill("o"), "b": nil}
		ordered := seed%2 == 0
		d := testDisk(t, img, Config{Ordered: ordered})
		names, contents := maps.Clone(d.names), map[*inode][]byte{d.names["a"]: img["a"]}
		text := func(img Image) string { return fmt.Sprintf("%x", img) }
		var want [][2]string // none and all, at some places of the trace
		var at []int
		for range 80 {
			f := handle(d, string(rune('a'+r.IntN(3))))
			switch r.IntN(8) {
			case 0:
				require.NoError(t, f.Truncate(r.Int64N(2000)))
			case 1:
				require.NoError(t, f.d.unlink(f.name))
			case 2:
				require.NoError(t, f.d.syncDir(f.name))
				names = maps.Clone(d.names)
			case 3:
				require.NoError(t, f.Sync(0))
				contents[f.ino] = bytes.Clone(f.ino.data)
				if ordered {
					names = maps.Clone(d.names)
				}
			default:
				must(f.WriteAt(bytes.Repeat([]byte{byte(1 + r.IntN(250))}, 1+r.IntN(1500)), r.Int64N(2000)))
			}
			none := Image{}
			for name, ino := range names {
				none[name] = contents[ino]
			}
			want, at = append(want, [2]string{text(none), text(d.Image())}), append(at, len(d.trace))
		}
		c := NewCrash(img, d.cfg, d.Trace())
		for i, k := range at {
			c.Advance(k)
			require.Equal(t, want[i], [2]string{text(c.Image(None)), text(c.Image(All))})
			// Only the trace, the place and the choice count, and no state changes another.
			again, choice := NewCrash(img, d.cfg, d.Trace()), Random+Choice(r.Uint32())
			again.Advance(k)
			require.Equal(t, text(again.Image(choice)), text(c.Image(choice)))
			require.Equal(t, text(c.Image(choice)), text(c.Image(choice)))
		}
	}
}

// TestCrashHarmAgain: where a write that is torn harms its sector, one that is lost can't do so any more once the sector was written again,
// which goes to the disk as a whole; and can until then.
func TestCrashHarmAgain(t *testing.T) {
	img := Image{"f": fill("oooo")}
	show := func(img Image) string { return letters(img["f"]) }
	p := newPlayer(t, img, Config{SectorSize: 2 * sectorSize}).play(strings.Fields("w0aaa X w0b s")...)
	c := crash(p.d, img)
	require.Equal(t, "baoo", show(c.Image(None)))
	seen := map[string]bool{}
	for n := range Choice(2000) {
		seen[show(c.Image(Random+n))] = true
	}
	for state := range seen {
		require.Equal(t, "ba", state[:2])
	}
	require.Greater(t, len(seen), 4, "the other sector's is in doubt, and may harm what is beside it")
}
