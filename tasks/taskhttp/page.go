package taskhttp

import (
	"bytes"
	"embed"
	"errors"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// pageFiles are what the page is made of. It is served as it is: there is no build step.
//
//go:embed page/*.html page/*.css page/*.js page/*.svg
var pageFiles embed.FS

// pagePolicy lets the page take everything from where it came from and nothing from elsewhere: no inline script or style,
// and no text is taken for markup.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

var pageTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// pageAccess is what the page is told: whether it has to ask for a token.
const (
	pageAccess = `<meta name="access" content="token">`
	pageOpen   = `<meta name="access" content="open">`
)

func init() {
	names, err := fs.Glob(pageFiles, "page/*")
	if err != nil {
		panic(err) // the pattern is right
	}
	for _, name := range names {
		at := "/" + name
		if name == "page/index.html" {
			at = "/"
		}
		body, err := pageFiles.ReadFile(name)
		if err != nil {
			panic(err) // it is embedded
		}
		pageRoutes = append(pageRoutes, endpoint{"GET", at, 0, nil, func(h *Handler, r *request) error { return h.page(r, name, body) }})
	}
}

// page answers with a file of the page, to everybody: it tells nothing about tasks. Who the browser lets in without a token,
// since everybody may do everything or a proxy has said who it is, isn't asked for one.
func (h *Handler) page(r *request, name string, body []byte) error {
	if name == "page/index.html" {
		_, err := h.authorize(r.Request)
		if err != nil && !errors.Is(err, ErrUnauthorized) {
			return unauthorized(err)
		}
		if err == nil {
			body = bytes.Replace(body, []byte(pageAccess), []byte(pageOpen), 1)
		}
	}
	head, etag := r.Header(), tag(body)
	head.Set("Content-Security-Policy", pagePolicy)
	head.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cache-Control", "private, no-cache")
	head.Set("ETag", etag)
	if matches(r.Request.Header.Values("If-None-Match"), etag) {
		r.WriteHeader(http.StatusNotModified)
		return nil
	}
	head.Set("Content-Type", pageTypes[strings.ToLower(path.Ext(name))])
	head.Set("Content-Length", strconv.Itoa(len(body)))
	h.writeDeadline(r.ResponseWriter)
	r.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		r.Write(body)
	}
	return nil
}
