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
	text    []byte     // as it is sent, without an id
}

// share has texts be kept and counted, or, without a count, dropped.
func (b *batch) share(written *atomic.Int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.texts, b.written = nil, written
}

// text returns what a principal is told of the batch. It isn't to be changed.
func (b *batch) text(by Principal) []byte {
	key := [2]string{by.Owner, by.Prefix}
	b.mu.Lock()
	defer b.mu.Unlock()
	if text, ok := b.texts[key]; ok {
		return text
	}
	text := b.write(by)
	if b.written != nil {
		b.written.Add(1)
		if b.texts == nil {
			b.texts = map[[2]string][]byte{}
		}
		b.texts[key] = text
	}
	return text
}

// write puts together what a principal is told. The last event has the number to resume after.
func (b *batch) write(by Principal) (text []byte) {
	if b.lost {
		return event("reset", position{b.last, b.numbered}.String(), []byte("{}"))
	}
	for _, c := range b.tasks {
		if by.Owner != "" && c.unowned || !by.sees(c.task) {
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
