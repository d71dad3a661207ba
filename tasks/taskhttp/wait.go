package taskhttp

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// waitOf returns how long a request is willing to wait: ?wait=30s, or "Prefer: wait=30".
func (h *Handler) waitOf(r *request) (time.Duration, error) {
	text := r.query.Get("wait")
	if text == "" {
		seconds, ok := preferredWait(r.Request.Header)
		if !ok {
			return 0, nil
		}
		// What can't be met isn't an error of a preference: RFC 7240, 2.
		wait := min(time.Duration(seconds)*time.Second, h.maxWait)
		r.Header().Set("Preference-Applied", "wait="+strconv.Itoa(int(wait/time.Second)))
		return wait, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, &Problem{Status: http.StatusBadRequest, Type: typeInvalid, Title: "Not allowed", Detail: "wait " + quote(text) + ": want a duration such as 30s"}
	}
	return min(d, h.maxWait), nil
}

// preferredWait returns the seconds of a preference to wait. The first one counts.
func preferredWait(head http.Header) (seconds int, ok bool) {
	for _, v := range head.Values("Prefer") {
		for one := range strings.SplitSeq(v, ",") {
			one, _, _ = strings.Cut(one, ";")
			name, value, _ := strings.Cut(one, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`))
			return min(n, 1<<20), err == nil && n >= 0
		}
	}
	return 0, false
}

// flag returns a parameter that is true or false.
func flag(r *request, name string) (bool, error) {
	switch text := r.query.Get(name); text {
	case "", "false", "0":
		return false, nil
	case "true", "1":
		return true, nil
	default:
		return false, &Problem{Status: http.StatusBadRequest, Type: typeInvalid, Title: "Not allowed", Detail: name + " " + quote(text) + ": want true or false"}
	}
}

// quote returns a text as it is shown in an error.
func quote(text string) string { return strconv.Quote(text[:min(len(text), 100)]) }

// waitFor has the request's task looked at until that says that it is done, or the time is over, or the handler is shut down.
// It returns the error of the last look.
func (h *Handler) waitFor(r *request, wait time.Duration, look func(ctx context.Context) (done bool, err error)) error {
	if wait == 0 {
		_, err := look(r.Context())
		return err
	}
	leave, p := h.waits.enter(client(r.Request, r.by), "long polls")
	if p != nil {
		return p
	}
	defer leave()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		// Before the look, so that no change is missed.
		changed, stop := h.store.Notify(r.id)
		done, err := look(r.Context())
		if err != nil || done || h.closed() {
			stop()
			return err
		}
		select {
		case <-changed:
		case <-timer.C:
			stop()
			return nil
		case <-h.closing:
			stop()
			return nil
		case <-r.Context().Done():
			stop()
			return r.Context().Err()
		}
		stop()
	}
}
