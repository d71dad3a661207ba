package taskhttp

import (
	"net/http"
	"sync"
)

// gate counts what clients hold, and lets no more in than there may be.
type gate struct {
	perClient, inAll int

	mu  sync.Mutex
	all int            // guarded by mu
	of  map[string]int // guarded by mu
}

// enter lets a client in. It returns a problem if there are too many.
func (g *gate) enter(client, what string) (leave func(), p *Problem) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of[client] >= g.perClient {
		return nil, &Problem{Status: http.StatusTooManyRequests, Type: typeLimit, Title: "Too many " + what + " of this client", retry: 1}
	}
	if g.all >= g.inAll {
		return nil, &Problem{Status: http.StatusServiceUnavailable, Type: typeLimit, Title: "Too many " + what, retry: 5}
	}
	if g.of == nil {
		g.of = map[string]int{}
	}
	g.all++
	g.of[client]++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.all--
		if g.of[client]--; g.of[client] == 0 {
			delete(g.of, client)
		}
	}, nil
}

// count returns how many are in.
func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.all
}

// inFlight are the idempotency keys of requests that haven't been answered yet.
type inFlight struct {
	mu   sync.Mutex
	keys map[[2]string]bool // owner and key; guarded by mu
}

// begin reports whether no other request with the key is in flight.
func (f *inFlight) begin(owner, key string) (end func(), ok bool) {
	k := [2]string{owner, key}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.keys[k] {
		return nil, false
	}
	if f.keys == nil {
		f.keys = map[[2]string]bool{}
	}
	f.keys[k] = true
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.keys, k)
	}, true
}
