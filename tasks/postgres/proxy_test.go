package postgres_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// proxy passes connections on to a server, until it is told to cut them.
type proxy struct {
	net.Listener
	to string

	mu    sync.Mutex
	conns map[net.Conn]bool // guarded by mu
	// seen is called with what a client has sent, before it is passed on. What it returns says what becomes of the connection.
	seen func(data []byte) verdict // guarded by mu
}

type verdict int

const (
	pass      verdict = iota
	cutBefore         // the server doesn't get it
	cutAfter          // the server gets it, the client no answer
	swallow           // the server gets it, and the client waits
)

func newProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{Listener: l, to: to, conns: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *proxy) set(seen func([]byte) verdict) {
	p.mu.Lock()
	p.seen = seen
	p.mu.Unlock()
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
	}
}

func (p *proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	var mute atomic.Bool
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if n > 0 && !mute.Load() {
				client.Write(buf[:n])
			}
			if err != nil {
				client.Close()
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			server.Close()
			return
		}
		p.mu.Lock()
		seen := p.seen
		p.mu.Unlock()
		v := pass
		if seen != nil {
			v = seen(buf[:n])
		}
		switch v {
		case cutBefore:
			client.Close()
			server.Close()
			return
		case cutAfter:
			mute.Store(true)
			server.Write(buf[:n])
			time.Sleep(20 * time.Millisecond) // the server gets to it
			client.Close()
			// The server may go on: it isn't told.
			continue
		case swallow:
			mute.Store(true)
			time.AfterFunc(time.Second, func() { client.Close() }) // the driver waits long for what it gives up
		}
		server.Write(buf[:n])
	}
}
