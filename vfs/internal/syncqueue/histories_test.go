package syncqueue

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/docusnap/asyncvfs/internal/rules"
)

var seedFlag = flag.Uint64("seed", 0, "run only the random history of this seed")

// histCfg is the queue's configuration for histories.
func histCfg(disabled rules.Set) Config { return Config{MinInterval: 4, Disabled: disabled} }

// randomHistory draws a history. Every other one has no failure, which would end all that is of interest.
func randomHistory(seed uint64) []event {
	rnd := rand.New(rand.NewPCG(seed, 0))
	weights := [numOps]int{
		opWrite: 20, opRequest: 20, opNext: 16, opDone: 16, opRestart: 4, opAdvance: 10,
		opAck: 4, opCancel: 2, opStart: 3, opSynced: 2, opBeside: 12,
	}
	if seed%2 == 0 {
		weights[opDoneErr], weights[opFail], weights[opCondemn] = 1, 1, 1
	}
	var sum int
	for _, w := range weights {
		sum += w
	}
	history := make([]event, 1+rnd.IntN(60))
	for i := range history {
		n, o := rnd.IntN(sum), op(0)
		for n >= weights[o] {
			n -= weights[o]
			o++
		}
		e := event{op: o, arg: uint8(rnd.Uint32())}
		if rnd.IntN(3) == 0 {
			e.file = DB
		}
		if o == opAdvance {
			e.arg %= 12
		}
		history[i] = e
	}
	return history
}

// shrink leaves out events as long as the history still breaks a rule.
func shrink(cfg Config, history []event) []event {
	for i := 0; i < len(history); {
		shorter := slices.Delete(slices.Clone(history), i, i+1)
		if check(cfg, shorter) != nil {
			history, i = shorter, 0
		} else {
			i++
		}
	}
	return history
}

// slow is true where there is less time. Counting coverage takes ten times as long under the race detector.
func slow() bool { return testing.Short() || testing.CoverMode() != "" }

func TestRandomHistories(t *testing.T) {
	t.Parallel()
	first, n := uint64(1), uint64(10000)
	if slow() {
		n = 2000
	}
	if *seedFlag != 0 {
		first, n = *seedFlag, 1
	}
	for seed := first; seed < first+n; seed++ {
		history := randomHistory(seed)
		if err := check(histCfg(0), history); err != nil {
			short := shrink(histCfg(0), history)
			t.Fatalf("-seed %d: %v\nshortest: %v", seed, err, check(histCfg(0), short))
		}
	}
}

// Random histories find each rule that is switched off, or they'd prove nothing.
func TestRandomHistoriesFindBrokenRules(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]rules.Set{"H5": rules.FailureIsFinal, "H6": rules.SyncCoversWritten, "ClearClosed": rules.ClearClosed, "LaterSyncs": rules.LaterSyncs} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(2000) {
				// H5 shows in even ones only.
				if err := check(histCfg(rule), randomHistory(2*seed)); err != nil {
					return
				}
			}
			t.Error("no history shows that the rule is off")
		})
	}
}

// Every history up to a length, over few events. Those that change nothing are tried and not gone on from:
// what follows is the same as without them.
func TestAllHistories(t *testing.T) {
	t.Parallel()
	alphabet := []event{
		{opWrite, WAL, 0},
		{opWrite, DB, 0},
		{opRequest, WAL, argNow},
		{opRequest, WAL, argLater | argUrgent},
		{opRequest, DB, argNow},
		{opNext, WAL, 0},
		{opDone, WAL, 0},
		{opBeside, WAL, 0},
		{opDone, WAL, 1},
		{opNext, DB, 0},
		{opDone, DB, 0},
		{opRestart, WAL, 0},
		{opDoneErr, WAL, 0},
		{opCondemn, WAL, 0},
		{opAdvance, WAL, 11},
	}
	length := 6
	if slow() {
		length = 5
	}
	for _, e := range alphabet {
		t.Run(fmt.Sprint(e), func(t *testing.T) {
			t.Parallel()
			n := 0
			var descend func(history []event)
			descend = func(history []event) {
				n++
				c := newChecker(histCfg(0))
				var effect bool
				for _, e := range history {
					effect = c.apply(e)
				}
				c.drain()
				if len(c.errs) > 0 {
					t.Fatalf("%v: %v", history, c.err())
				}
				if !effect || len(history) == length {
					return
				}
				for _, e := range alphabet {
					if last := history[len(history)-1]; e.op != opAdvance || last.op != opAdvance {
						descend(append(slices.Clip(history), e))
					}
				}
			}
			descend([]event{e})
			t.Log(n, "histories")
		})
	}
}

// decode makes a history of any bytes, two for each event.
func decode(data []byte) (history []event) {
	for ; len(data) >= 2 && len(history) < 200; data = data[2:] {
		history = append(history, event{op: op(data[0]>>1) % numOps, file: File(data[0] & 1), arg: data[1]})
	}
	return history
}

// encode is the inverse of decode.
func encode(history []event) (data []byte) {
	for _, e := range history {
		data = append(data, byte(e.op)<<1|byte(e.file), e.arg)
	}
	return data
}

func FuzzQueue(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(encode(randomHistory(seed + 1)))
	}
	f.Add(encode(patentHistory))
	f.Add(encode(rejoinHistory))
	f.Add(encode(retryHistory))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := check(histCfg(0), decode(data)); err != nil {
			t.Fatalf("%v\nshortest: %v", err, check(histCfg(0), shrink(histCfg(0), decode(data))))
		}
	})
}
