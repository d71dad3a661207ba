package powercut

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/docusnap/asyncvfs/internal/simdisk"
	"github.com/ncruces/go-sqlite3"
)

// Sample is a database as a power cut left it, in files of the operating system.
type Sample struct {
	Name string // the workload and the state
	Path string
	// Want is what SampleQuery returns.
	Want string
}

// SampleQuery returns all that a sample holds, as a text.
const SampleQuery = `SELECT (SELECT txn FROM meta) || coalesce(group_concat(' ' || id || ':' || k || ':' || hex(v), ''), '') FROM (SELECT * FROM t ORDER BY id)`

// Samples writes one crash state of each of n workloads to files, for another SQLite to open.
func Samples(t *testing.T, n int) (all []Sample) {
	dir, shmDir := t.TempDir(), t.TempDir()
	kinds := Kinds()
	r := rand.New(rand.NewPCG(uint64(n), 7))
	for i := 0; len(all) < n; i++ {
		p := Plan{Kind: kinds[i%len(kinds)], Seed: uint64(i)}
		x, err := runPlan(t, p, 0, shmDir)
		if err != nil {
			t.Fatal(err)
		}
		at, choice := r.IntN(len(x.trace)+1), simdisk.Random+simdisk.Choice(r.Uint32())
		crash := simdisk.NewCrash(x.image, x.cfg, x.trace)
		crash.Advance(at)
		img := crash.Image(choice)
		o := newOracle(x.hist[0], x.trace)
		if err := o.advance(at); err != nil {
			t.Fatal(err)
		}

		d := simdisk.NewDisk(img, simdisk.Config{ShmDir: shmDir, Powersafe: true, Quiet: true})
		f := inspect(d, o.h.db)
		d.Remove()
		if f.err != nil || f.txn < 0 || o.check(f) != nil {
			continue // it has no tables yet, or is where SQLite keeps no journal on the disk
		}
		s := Sample{
			Name: fmt.Sprintf("%s-%d-%d", p.Kind, p.Seed, at),
			Path: filepath.Join(dir, fmt.Sprint(i, ".db")),
		}
		for _, suffix := range simdisk.Suffixes {
			if data, ok := img[o.h.db+suffix]; ok {
				if err := os.WriteFile(s.Path+suffix, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		if s.Want, err = wanted(img, o.h.db, shmDir); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// wanted returns what the query returns on the simulated disk.
func wanted(img simdisk.Image, db, shmDir string) (string, error) {
	d := simdisk.NewDisk(img, simdisk.Config{ShmDir: shmDir, Powersafe: true, Quiet: true})
	defer d.Remove()
	c, err := sqlite3.Open("file:" + d.Path(db) + "?vfs=" + simdisk.Stock)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return text(c, SampleQuery)
}
