package taskhttp

import (
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/docusnap/asyncvfs/tasks"
)

// batch are changes that are told together.
type batch struct {
	after, last int64 // the changes after one, up to another
	numbered    bool
	lost        bool // any task may have changed
	tasks       []change

	mu sync.Mutex
	// texts are what principals are told, by what they see of tasks: thousands of streams that see the same are told it by the same bytes.
	// Only the newest batch has them: who comes later is one of few. Guarded by mu.
	texts   map[[2]string][]byte
	written *atomic.Int64 // how many were put together, nil if they aren't kept; guarded by mu
}

// change is what has become of a task.
type change struct {
	task    tasks.Info // only what it takes to tell who sees it
	unowned bool       // whose it was isn't known
	number  int64      // of the last of its changes
	text    []byte     // as it is sent
}

// share has texts be kept and counted, or, without a count, dropped.
func (b *batch) share(written *atomic.Int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.texts, b.written = nil, written
}

// text returns what a principal is told of the batch who has been told up to a change. It isn't to be changed.
func (b *batch) text(by Principal, told int64) []byte {
	if b.numbered && told > b.after {
		return b.write(by, told)
	}
	key := [2]string{by.Owner, by.Prefix}
	b.mu.Lock()
	defer b.mu.Unlock()
	if text, ok := b.texts[key]; ok {
		return text
	}
	text := b.write(by, b.after)
	if b.written != nil {
		b.written.Add(1)
		if b.texts == nil {
			b.texts = map[[2]string][]byte{}
		}
		b.texts[key] = text
	}
	return text
}

// write puts together what a principal is told. At its end is the number to resume after, whatever of it that one sees.
func (b *batch) write(by Principal, told int64) (text []byte) {
	if b.lost {
		return event("reset", position{b.last, b.numbered}.String(), []byte("{}"))
	}
	for _, c := range b.tasks {
		if b.numbered && c.number <= told || by.Owner != "" && c.unowned || !by.sees(c.task) {
			continue
		}
		text = append(text, c.text...)
	}
	if len(text) > 0 {
		text = append(text, "id: "...)
		text = strconv.AppendInt(text, b.last, 10)
		text = append(text, "\n\n"...)
	}
	return text
}
