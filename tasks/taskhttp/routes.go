package taskhttp

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// endpoint is what a path and a method lead to.
type endpoint struct {
	method string
	path   string   // as in the OpenAPI document; {id} is one segment
	right  Right    // that is needed; 0 for those without credentials
	query  []string // parameters that are known
	serve  func(*Handler, *request) error
}

// request is a request to an endpoint.
type request struct {
	http.ResponseWriter
	*http.Request
	id    string // of the path
	by    Principal
	query url.Values
}

var endpoints = []endpoint{
	{"GET", "/tasks", Read, []string{"type", "status", "label", "owner", "order", "after", "limit"}, (*Handler).list},
	{"POST", "/tasks", Write, nil, (*Handler).create},
	{"GET", "/tasks/{id}", Read, []string{"wait"}, (*Handler).task},
	{"DELETE", "/tasks/{id}", Write, nil, (*Handler).remove},
	{"GET", "/tasks/{id}/result", Read, []string{"wait", "partial"}, (*Handler).result},
	{"GET", "/tasks/{id}/input", Read, nil, (*Handler).input},
	{"GET", "/tasks/{id}/attempts", Read, nil, (*Handler).attempts},
	{"GET", "/tasks/{id}/events", Read, nil, (*Handler).taskEvents},
	{"POST", "/tasks/{id}/cancel", Write, nil, (*Handler).cancel},
	{"POST", "/tasks/{id}/retry", Write, nil, (*Handler).retry},
	{"GET", "/events", Read, nil, (*Handler).events},
	{"GET", "/stats", Read, nil, (*Handler).serveStats},
	{"GET", "/metrics", Admin, nil, (*Handler).serveMetrics},
	{"GET", "/healthz", 0, nil, (*Handler).healthz},
	{"GET", "/readyz", 0, nil, (*Handler).readyz},
	{"GET", "/openapi.json", 0, nil, (*Handler).openAPI},
}

// pageRoutes are the endpoints of the page, which page.go adds.
var pageRoutes []endpoint

// routed is an endpoint with the segments of its path.
type routed struct {
	endpoint
	segments []string
}

// routes are all endpoints by the number of their segments.
var routes = sync.OnceValue(func() map[int][]routed {
	all := map[int][]routed{}
	for _, list := range [][]endpoint{endpoints, pageRoutes} {
		for _, e := range list {
			segments := strings.Split(e.path, "/")
			all[len(segments)] = append(all[len(segments)], routed{e, segments})
		}
	}
	return all
})

// route finds the endpoints of a path, and the id in it. An id is one segment of the path as it was sent, unescaped:
// a router that cleans paths would take an id with a slash or dots in it for another.
func route(escaped string) (found []endpoint, id string, ok bool) {
	segments := strings.Split(escaped, "/")
next:
	for _, e := range routes()[len(segments)] {
		text := ""
		for i, want := range e.segments {
			if want == "{id}" {
				var err error
				if text, err = url.PathUnescape(segments[i]); err != nil || text == "" {
					continue next
				}
			} else if want != segments[i] {
				continue next
			}
		}
		found, id = append(found, e.endpoint), text
	}
	return found, id, len(found) > 0
}

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	if err := h.serve(w, r); err != nil {
		h.problem(w, r, problemOf(err, ""))
	}
}

// serve finds the endpoint of a request, and checks who makes it.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	found, id, ok := route(r.URL.EscapedPath())
	if !ok {
		return &Problem{Status: http.StatusNotFound, Type: typeNotFound, Title: "There is nothing at this path"}
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	i := slices.IndexFunc(found, func(e endpoint) bool { return e.method == method })
	if i < 0 {
		var allowed []string
		for _, e := range found {
			allowed = append(allowed, e.method)
			if e.method == http.MethodGet {
				allowed = append(allowed, http.MethodHead)
			}
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return &Problem{Status: http.StatusMethodNotAllowed, Title: "Method not allowed", Detail: "want " + strings.Join(allowed, " or ")}
	}
	e := found[i]
	if err := h.crossSite.Check(r); err != nil {
		return &Problem{Status: http.StatusForbidden, Type: typeCrossSite, Title: "Cross-site requests may not change anything"}
	}
	q, err := query(r, e.query)
	if err != nil {
		return err
	}
	req := &request{w, r, id, Principal{}, q}
	if e.right > 0 {
		if req.by, err = h.who(r); err != nil {
			return err
		}
		if req.by.Rights < e.right {
			return &Problem{Status: http.StatusForbidden, Type: typeRight, Title: "Not allowed", Detail: "want the right to " + e.right.String()}
		}
	}
	return e.serve(h, req)
}

// who returns who makes a request.
func (h *Handler) who(r *http.Request) (Principal, error) {
	p, err := h.authorize(r)
	if err != nil {
		return Principal{}, unauthorized(err)
	}
	return p, nil
}

// query returns the parameters of a request. Those that aren't known are refused: a misspelt filter shall not return everything,
// and credentials don't belong into a URL, which is logged.
func query(r *http.Request, known []string) (url.Values, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &Problem{Status: http.StatusBadRequest, Title: "The query can't be read"}
	}
	for name := range q {
		if !slices.Contains(known, name) {
			return nil, &Problem{Status: http.StatusBadRequest, Title: "Unknown parameter", Detail: name[:min(len(name), 100)]}
		}
	}
	return q, nil
}
