package taskhttp

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
)

var (
	// ErrNoAuthorizer is returned by [New] unless it is said who may do what: by [Tokens], [Authorize] or [Open].
	ErrNoAuthorizer = errors.New("taskhttp: no authorizer: give Tokens, Authorize or, to let everybody do everything, Open")
	// ErrUnauthorized is what an authorizer returns for a request without credentials, or with wrong ones: the answer is 401.
	// Any other error is answered with 500.
	ErrUnauthorized = errors.New("no valid credentials")
)

// Right is what somebody may do. Each includes those before it.
type Right int

// The rights.
const (
	Read  Right = iota + 1 // look at tasks, their inputs and results
	Write                  // create, cancel, retry and delete them
	Admin                  // see all tasks, whoever owns them, and what the process measures
)

// String returns the right's name.
func (r Right) String() string {
	if r < Read || r > Admin {
		return "none"
	}
	return [...]string{"read", "write", "admin"}[r-Read]
}

// Principal is who makes a request.
type Principal struct {
	Name   string // in the log, and to count what a client holds
	Rights Right
	// Owner is whose tasks these are: those of others can't be seen, and new ones are its own. Empty is no limit.
	Owner string
	// Prefix is what the ids of the tasks begin with that can be seen and created. Empty is no limit.
	Prefix string
}

// allows returns an error if the principal isn't one that can be.
func (p Principal) check() error {
	if p.Rights < Read || p.Rights > Admin {
		return errors.New("no right: want Read, Write or Admin")
	}
	if p.Rights < Admin && p.Owner == "" && p.Prefix == "" {
		return errors.New("neither an owner nor a prefix: only Admin sees all tasks")
	}
	if len(p.Owner) > tasks.MaxID || len(p.Prefix) > tasks.MaxID/2 {
		return errors.New("the owner or the prefix is too long")
	}
	return nil
}

// sees reports whether a task is one of the principal's.
func (p Principal) sees(t tasks.Info) bool {
	return (p.Owner == "" || t.Owner == p.Owner) && strings.HasPrefix(t.ID, p.Prefix)
}

// Token is a secret that a request carries in its header as "Authorization: Bearer secret".
type Token struct {
	Secret string // at least 16 bytes of visible ASCII
	Principal
	Expires time.Time // zero is never
}

// Tokens lets those in who have one of the tokens. Secrets are compared in constant time.
func Tokens(list ...Token) Option {
	return func(c *config) {
		type known struct {
			sum [sha256.Size]byte
			Token
		}
		var all []known
		for i, t := range list {
			if len(t.Secret) < 16 || strings.ContainsFunc(t.Secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
				c.fail("token %d: want a secret of at least 16 bytes of visible ASCII", i)
			}
			if err := t.Principal.check(); err != nil {
				c.fail("token %d: %w", i, err)
			}
			k := known{sha256.Sum256([]byte(t.Secret)), t}
			k.Secret = ""
			for _, other := range all {
				if other.sum == k.sum {
					c.fail("token %d: another one has the same secret", i)
				}
			}
			all = append(all, k)
		}
		if len(list) == 0 {
			c.fail("Tokens: there are none")
		}
		c.setAuthorizer(func(r *http.Request) (p Principal, err error) {
			sent, ok := bearer(r)
			if !ok {
				return p, ErrUnauthorized
			}
			// All are looked at, so that the time doesn't tell which of them was close.
			sum, found := sha256.Sum256([]byte(sent)), -1
			for i := range all {
				if subtle.ConstantTimeCompare(sum[:], all[i].sum[:]) == 1 {
					found = i
				}
			}
			if found < 0 {
				return p, ErrUnauthorized
			}
			if t := all[found]; t.Expires.IsZero() || time.Now().Before(t.Expires) {
				return t.Principal, nil
			}
			return p, ErrUnauthorized
		})
	}
}

// bearer returns the token of a request.
func bearer(r *http.Request) (token string, ok bool) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(headers[0], " ")
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != ""
}

// Authorize has a function say who makes a request. It is called for each one, and may be called at the same time.
// An error that is [ErrUnauthorized] is answered with 401. It is for other credentials than tokens, such as those of a proxy.
func Authorize(who func(*http.Request) (Principal, error)) Option {
	return func(c *config) {
		if who == nil {
			c.fail("Authorize: no function")
			return
		}
		c.setAuthorizer(func(r *http.Request) (Principal, error) {
			p, err := who(r)
			if err == nil {
				err = p.check()
			}
			return p, err
		})
	}
}

// Open lets everybody do everything who can reach the handler.
func Open() Option {
	return func(c *config) {
		c.setAuthorizer(func(*http.Request) (Principal, error) { return Principal{Rights: Admin}, nil })
	}
}

func (c *config) setAuthorizer(f func(*http.Request) (Principal, error)) {
	if c.authorize != nil {
		c.fail("more than one authorizer")
	}
	c.authorize = f
}

// client names who holds something, to count it.
func client(r *http.Request, p Principal) string {
	if p.Name != "" {
		return "name " + p.Name
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return "address " + host
}
