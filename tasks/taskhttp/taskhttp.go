// Package taskhttp serves a [tasks.Store] over HTTP: an API in JSON, server-sent events, and a page to look at.
//
//	h, err := taskhttp.New(store, taskhttp.Tokens(taskhttp.Token{Secret: secret, Principal: taskhttp.Principal{Rights: taskhttp.Admin}}))
//	server := taskhttp.NewServer(addr, h)
//	err = server.ListenAndServe()
//
// The endpoints, their parameters and answers are described by the OpenAPI document, which is served at /openapi.json.
// Errors are problem documents as RFC 9457 has them.
//
// # Who may do what
//
// Nothing is served without an authorizer: [New] returns an error unless one of [Tokens], [Authorize] and [Open] is given.
// It says for each request who asks: a [Principal] with a right ([Read], [Write] or [Admin]), whose tasks those of its owner are.
// Who asks for another's task is told that there is none. Without credentials only /healthz, /readyz, /openapi.json
// and the page itself are served, which tell nothing about tasks.
//
// # Durability
//
// An answer is only about what is durable: what it says, a power cut can't take back. Where all of it is durable already,
// as when an unchanged task is asked for again, that costs no sync.
//
// # Waiting
//
// GET of a task or its result waits with ?wait=30s, or with the header "Prefer: wait=30" (RFC 7240), up to [MaxWait].
// It is answered when the task changes, or is none of those that If-None-Match names; or, of a result, when the task is done.
// Streams of events resume after the event that Last-Event-ID names. [Handler.Shutdown] ends both at once, with an answer.
package taskhttp

import (
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

// Handler serves a store. Its methods may be called at the same time.
type Handler struct {
	*config
	store     *tasks.Store
	crossSite *http.CrossOriginProtection
	waits     gate // long polls
	streams   gate
	feed      feed
	bodies    bodies
	stats     statsCache
	inFlight  inFlight

	closing  chan struct{} // closed by Shutdown
	shutDown func()
}

// config is what the options have set.
type config struct {
	authorize func(*http.Request) (Principal, error)
	err       error // of an option

	log       *slog.Logger
	metrics   http.Handler
	maxBody   int64
	maxWait   time.Duration
	heartbeat time.Duration
	bodyTime  time.Duration
	writeTime time.Duration
	unsettled bool // for tests

	waitsPerClient, waitsInAll     int
	streamsPerClient, streamsInAll int
}

// New returns a handler for a store. Shut it down before the store is closed.
// It returns an error if there is no authorizer, more than one, or an option has a value that isn't allowed.
func New(store *tasks.Store, opts ...Option) (*Handler, error) {
	c := &config{
		log: slog.New(slog.DiscardHandler), maxBody: DefaultMaxBody, maxWait: DefaultMaxWait, heartbeat: DefaultHeartbeat,
		bodyTime: 30 * time.Second, writeTime: 30 * time.Second,
		waitsPerClient: 256, waitsInAll: 10_000, streamsPerClient: 64, streamsInAll: 10_000,
	}
	for _, o := range opts {
		o(c)
	}
	if c.err != nil {
		return nil, c.err
	}
	if store == nil {
		return nil, errors.New("taskhttp: no store")
	}
	if c.authorize == nil {
		return nil, ErrNoAuthorizer
	}
	h := &Handler{config: c, store: store, crossSite: http.NewCrossOriginProtection(), closing: make(chan struct{})}
	h.waits = gate{perClient: c.waitsPerClient, inAll: c.waitsInAll}
	h.streams = gate{perClient: c.streamsPerClient, inAll: c.streamsInAll}
	h.shutDown = sync.OnceFunc(func() { close(h.closing) })
	h.feed.init(h)
	return h, nil
}

// Shutdown ends all long polls and streams at once, with an answer, and has those that come later not wait.
// It returns at once. [net/http.Server.RegisterOnShutdown] calls it in time.
func (h *Handler) Shutdown() { h.shutDown() }

// closed reports whether the handler is shut down.
func (h *Handler) closed() bool {
	select {
	case <-h.closing:
		return true
	default:
		return false
	}
}
