package pagetest

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/stretchr/testify/require"
)

const (
	adminToken  = "admin-0123456789abcdef"
	readerToken = "reader-0123456789abcdef"
)

// patience is how long a test waits for the page to show something.
const patience = 20 * time.Second

// chromium returns the browser's program.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	t.Fatal("there is no Chromium: on Debian, apt-get install chromium; else name it in the environment variable CHROMIUM")
	return ""
}

// page is the page in a browser, and the server that it comes from.
type page struct {
	t     *testing.T
	ctx   context.Context
	store *tasks.Store
	h     *taskhttp.Handler
	url   string

	mu       sync.Mutex
	faults   []string // of the console, and exceptions; guarded by mu
	requests []string // URLs; guarded by mu
}

// open serves an empty store and shows the page of it, in a browser of its own.
func open(t *testing.T, opts ...taskhttp.Option) *page {
	t.Helper()
	store, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"), tasks.Types("scan", "form"))
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	if len(opts) == 0 {
		opts = append(opts, tokens)
	}
	h, err := taskhttp.New(store, opts...)
	require.NoError(t, err)
	s := httptest.NewServer(h)
	t.Cleanup(func() { h.Shutdown(); s.Close() })
	p := browse(t, s.URL+"/")
	p.store, p.h = store, h
	return p
}

// tokens let the tests' principals in.
var tokens = taskhttp.Tokens(
	taskhttp.Token{Secret: adminToken, Principal: taskhttp.Principal{Name: "admin", Rights: taskhttp.Admin}},
	taskhttp.Token{Secret: readerToken, Principal: taskhttp.Principal{Name: "reader", Rights: taskhttp.Read, Owner: "reader"}})

// browse shows a page, in a browser of its own.
func browse(t *testing.T, url string) *page {
	t.Helper()
	p := &page{t: t, url: url}
	flags := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute), chromedp.Flag("disable-dev-shm-usage", true))
	alloc, stop := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx); cancel(); stop() })
	p.ctx = ctx
	require.NoError(t, chromedp.Listen(ctx, p.heard)) // starts the browser, which ends with the context
	call(p, network.Enable, network.EnableParams{})
	call(p, log.Enable, cdp.Empty{})
	call(p, runtime.Enable, cdp.Empty{})
	call(p, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "UTC"})
	p.size(1200, 900)
	p.do(chromedp.Navigate(p.url))
	return p
}

func (p *page) heard(e any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := e.(type) {
	case *runtime.EventConsoleAPICalled:
		p.faults = append(p.faults, fmt.Sprintf("console %s: %+v", e.Type, e.Args))
	case *runtime.EventExceptionThrown:
		p.faults = append(p.faults, fmt.Sprintf("exception: %+v", e.ExceptionDetails))
	case *log.EventEntryAdded:
		p.faults = append(p.faults, fmt.Sprintf("log %s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e.Request.URL)
	}
}

// do acts in the browser.
func (p *page) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 2*patience)
	defer cancel()
	require.NoError(p.t, chromedp.Do(ctx, actions...))
}

// get has the browser do something that returns a value.
func get[T any](p *page, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 2*patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	require.NoError(p.t, err)
	return v
}

// call calls a command of the protocol.
func call[P, R any](p *page, command cdp.Command[P, R], params P) R {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 2*patience)
	defer cancel()
	v, err := chromedp.Call(ctx, command, params)
	require.NoError(p.t, err)
	return v
}

// js evaluates an expression.
func js[T any](p *page, expression string) T {
	p.t.Helper()
	return get(p, chromedp.Evaluate[T](expression))
}

// run runs statements.
func (p *page) run(statements string) {
	p.t.Helper()
	js[bool](p, "(() => { "+statements+"; return true })()")
}

// until waits until an expression is true.
func (p *page) until(expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience+5*time.Second)
	defer cancel()
	_, err := chromedp.Run(ctx, chromedp.Poll[bool]("Boolean("+expression+")", chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(patience)))
	if err != nil {
		p.shot("failed")
		require.NoError(p.t, err, "%s\n%s\n%s", expression, js[string](p, "document.body.innerText"), p.faults)
	}
}

// signIn enters a token.
func (p *page) signIn(token string) {
	p.t.Helper()
	p.do(chromedp.WaitVisible("#token"), chromedp.SendKeys("#token", token+"\r"))
	p.until(`document.querySelector("#link").textContent === "Live"`)
	p.until(`document.querySelector("#verdict").textContent !== ""`)
}

func (p *page) size(w, h int64) { p.t.Helper(); p.do(chromedp.EmulateViewport(w, h)) }

func (p *page) scheme(name string) {
	p.t.Helper()
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
}

// shot writes what is seen into the directory that SHOTS names, if it does.
func (p *page) shot(name string) {
	p.t.Helper()
	dir := os.Getenv("SHOTS")
	if dir == "" {
		return
	}
	png := get(p, chromedp.FullScreenshot(100))
	require.NoError(p.t, os.MkdirAll(dir, 0o755))
	require.NoError(p.t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}

// fill makes a table of tasks in all states.
func (p *page) fill() {
	p.t.Helper()
	ctx, s := p.t.Context(), p.store
	for i := range 30 {
		kind := []tasks.Type{"scan", "form"}[i%2]
		require.NoError(p.t, s.Create(ctx, fmt.Sprintf("doc-%03d", i), kind, tasks.Input(map[string]any{"page": i})))
	}
	for i := range 24 {
		c, err := s.Claim(ctx, time.Minute)
		require.NoError(p.t, err)
		switch {
		case i%8 == 7:
			require.NoError(p.t, s.Fail(ctx, c, tasks.Permanent(fmt.Errorf("the scanner of page %d has no paper", i%16))))
		case i < 22:
			require.NoError(p.t, s.Complete(ctx, c, map[string]any{"words": 100 + i, "big": "12345678901234567890"}))
		}
	}
}

// forgive forgets what the console has said about connections that the test has cut.
func (p *page) forgive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = slices.DeleteFunc(p.faults, func(fault string) bool {
		return strings.Contains(fault, "net::ERR_") || strings.Contains(fault, "the server responded with a status of 503")
	})
}

// clean fails the test if the console has said anything, or a request went to another host or carried the token in its URL.
func (p *page) clean() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Empty(p.t, p.faults)
	host, err := url.Parse(p.url)
	require.NoError(p.t, err)
	require.NotEmpty(p.t, p.requests)
	for _, r := range p.requests {
		u, err := url.Parse(r)
		require.NoError(p.t, err)
		require.Equal(p.t, host.Host, u.Host, r)
		for _, secret := range []string{adminToken, readerToken, base64.StdEncoding.EncodeToString([]byte(adminToken))} {
			require.False(p.t, strings.Contains(r, secret), r)
		}
	}
}
