package taskhttp

// Endpoint is an endpoint, for tests of all of them.
type Endpoint struct {
	Method, Path string
	Right        Right
}

// Endpoints returns all.
func Endpoints() (list []Endpoint) {
	for _, e := range append(endpoints[:len(endpoints):len(endpoints)], pageRoutes...) {
		list = append(list, Endpoint{e.method, e.path, e.right})
	}
	return list
}

// Waiting returns how many long polls and streams there are.
func (h *Handler) Waiting() (waits, streams int) { return h.waits.count(), h.streams.count() }

// WithoutSettling has a handler answer without waiting until what it says is durable: a control for tests.
func WithoutSettling() Option { return func(c *config) { c.unsettled = true } }

// InFlight returns how many requests with an idempotency key are in flight.
func (h *Handler) InFlight() int {
	h.inFlight.mu.Lock()
	defer h.inFlight.mu.Unlock()
	return len(h.inFlight.keys)
}

// Encoded returns how often a task was encoded to be answered.
func (h *Handler) Encoded() int {
	h.bodies.mu.Lock()
	defer h.bodies.mu.Unlock()
	return h.bodies.encoded
}

// Written returns how often the feed has put a text together for who sees the same tasks.
func (h *Handler) Written() int64 { return h.feed.written.Load() }

// FeedRests reports whether the feed has told all that has changed, and waits.
func (h *Handler) FeedRests() bool { return h.feed.rests.Load() }
