package docusnap_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/docusnap"
	"github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// app is a client of the API.
type app struct {
	t   *testing.T
	st  *tasks.Store
	url string
}

func serve(t *testing.T, path string, opts ...docusnap.Option) *app {
	t.Helper()
	st, err := tasks.Open(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	h, err := docusnap.New(st, append([]docusnap.Option{docusnap.Open()}, opts...)...)
	require.NoError(t, err)
	s := httptest.NewServer(http.StripPrefix("/api/v1", h))
	t.Cleanup(s.Close)
	return &app{t, st, s.URL + "/api/v1"}
}

func (a *app) post(path, body string) string {
	a.t.Helper()
	resp, err := http.Post(a.url+path, "application/json", strings.NewReader(body))
	require.NoError(a.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(a.t, err)
	return fmt.Sprintf("%d %s", resp.StatusCode, text)
}

func hash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// submit is a request with content, and poll one without.
func submit(client, kind, content string) string {
	return fmt.Sprintf(`{"client_id":%q,"type":%q,"SHA256":%q,"has_content":true,"content":%q,"aes_key":"sealed"}`, client, kind, hash(content), content)
}

func poll(client, kind, content string) string {
	return fmt.Sprintf(`{"client_id":%q,"type":%q,"SHA256":%q,"has_content":false}`, client, kind, hash(content))
}

// process has workers process what there is, until the test says so.
func (a *app) process(h tasks.Handler) (stop func()) {
	ctx, cancel := context.WithCancel(a.t.Context())
	ended := make(chan error)
	go func() {
		ended <- a.st.Run(ctx, map[tasks.Type]tasks.Handler{tasks.Document: h, tasks.Form: h, tasks.FormFilling: h}, 2)
	}()
	return func() { cancel(); require.NoError(a.t, <-ended) }
}

const processing = `202 {"status":"processing"}`

// TestProcess: a task is submitted and asked for as the app does it, by its client, hash and type, and outlives a restart.
func TestProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	a := serve(t, path)
	require.Equal(t, `400 {"status":"error","error_detail":"TASK_NOT_FOUND"}`, a.post("/process", poll("c1", "doc", "x")))
	for _, kind := range []string{"doc", "form", "fill"} {
		require.Equal(t, processing, a.post("/process", submit("c1", kind, "x")))
	}
	require.Equal(t, processing, a.post("/process", submit("c1", "doc", "x")), "once more")
	require.Equal(t, processing, a.post("/process", strings.ReplaceAll(submit("c1", "doc", "x"), "sealed", "sealed again")), "with another key: the first counts")
	require.Equal(t, processing, a.post("/process", poll("c1", "doc", "x")))
	require.Equal(t, `400 {"status":"error","error_detail":"TASK_NOT_FOUND"}`, a.post("/process", poll("c2", "doc", "x")), "another client's")
	require.NoError(t, a.st.Close()) // and with it, what was submitted

	a = serve(t, path)
	stop := a.process(func(ctx context.Context, task tasks.Info) (any, error) {
		var s docusnap.Submission
		if err := tasks.DecodeInput(ctx, &s); err != nil {
			return nil, err
		}
		switch s.Type {
		case "form":
			return nil, tasks.Permanent(fmt.Errorf("%w: the scanner said no", docusnap.OCRFailure))
		case "fill":
			return nil, tasks.Permanent(errors.New("something about the inside"))
		}
		return s.ClientID + " " + s.Content + " " + s.AESKey, nil
	})
	for kind, want := range map[string]string{
		"doc":  `200 {"status":"completed","result":"c1 x sealed"}`,
		"form": `400 {"status":"error","error_detail":"OCR_FAILURE"}`,
		"fill": `400 {"status":"error","error_detail":"PROCESSING_ERROR"}`,
	} {
		_, err := a.st.Wait(t.Context(), docusnap.ID("c1", hash("x"), kind))
		require.NoError(t, err)
		require.Equal(t, want, a.post("/process", poll("c1", kind, "x")))
		require.Equal(t, want, a.post("/process", submit("c1", kind, "x")))
	}
	stop()
}

// TestErrors: what isn't right is said by the codes that the app knows.
func TestErrors(t *testing.T) {
	a := serve(t, filepath.Join(t.TempDir(), "tasks.db"), docusnap.MaxBody(5000), docusnap.Check(func(_ context.Context, s docusnap.Submission) error {
		if s.Content == "unreadable" {
			return docusnap.ContentNotDecrypted
		}
		return nil
	}))
	whole := submit("c", "doc", "x")
	for body, want := range map[string]string{
		`{}`: "400 MISSING_REQUIRED_FIELD",
		strings.Replace(whole, `"client_id"`, `"client"`, 1):               "400 MISSING_REQUIRED_FIELD",
		strings.Replace(whole, `"SHA256"`, `"sha"`, 1):                     "400 MISSING_REQUIRED_FIELD",
		strings.Replace(whole, `"has_content"`, `"has"`, 1):                "400 MISSING_REQUIRED_FIELD",
		strings.Replace(whole, `"doc"`, `"letter"`, 1):                     "400 INVALID_TYPE",
		strings.Replace(whole, `"content":`, `"contents":`, 1):             "400 MISSING_CONTENT",
		strings.Replace(whole, `"content":"x"`, `"content":"y"`, 1):        "400 SHA256_MISMATCH",
		strings.Replace(whole, `"has_content":true`, `"has_content":0`, 1): "400 TASK_NOT_FOUND",
		strings.Replace(whole, `"sealed"`, `""`, 1):                        "400 RSA_DECRYPTION_FAILED",
		submit("c", "doc", "unreadable"):                                   "400 AES_DECRYPTION_FAILED",
		submit(strings.Repeat("c", 300), "doc", "x"):                       "400 MISSING_REQUIRED_FIELD",
		`{"client_id":1}`: "400 INVALID_JSON",
		`no JSON`:         "400 INVALID_JSON",
		submit("c", "doc", strings.Repeat("large", 2e3)): "413 CONTENT_TOO_LARGE",
	} {
		status, code, _ := strings.Cut(want, " ")
		require.Equal(t, status+` {"status":"error","error_detail":"`+code+`"}`, a.post("/process", body), body[:min(len(body), 200)])
	}
	counts, err := a.st.Count(t.Context())
	require.NoError(t, err)
	require.Empty(t, counts)
}

// TestClear: a client's tasks are deleted, or one of them, and those of others aren't.
func TestClear(t *testing.T) {
	a := serve(t, filepath.Join(t.TempDir(), "tasks.db"))
	require.NoError(t, a.st.Create(t.Context(), "unrelated", tasks.Form, tasks.Owner("c1")))
	for _, client := range []string{"c1", "c2"} {
		for _, content := range []string{"x", "y"} {
			require.Equal(t, processing, a.post("/process", submit(client, "doc", content)))
			require.Equal(t, processing, a.post("/process", submit(client, "form", content)))
		}
	}
	left := func() int {
		list, err := a.st.List(t.Context(), tasks.Query{})
		require.NoError(t, err)
		return len(list)
	}
	const ok = `200 {"status":"ok"}`
	require.Equal(t, `400 {"error":"Missing client_id"}`, a.post("/clear", `{}`))
	require.Equal(t, ok, a.post("/clear", fmt.Sprintf(`{"client_id":"c1","SHA256":%q,"type":"doc"}`, hash("x"))))
	require.Equal(t, 8, left())
	require.Equal(t, ok, a.post("/clear", fmt.Sprintf(`{"client_id":"c1","SHA256":%q,"type":"doc"}`, hash("x"))), "once more")
	require.Equal(t, ok, a.post("/clear", `{"client_id":"c1"}`))
	require.Equal(t, 5, left())
	require.Equal(t, `400 {"status":"error","error_detail":"TASK_NOT_FOUND"}`, a.post("/process", poll("c1", "form", "y")))
	require.Equal(t, processing, a.post("/process", poll("c2", "form", "y")))
	resp, err := http.Get(a.url + "/check_status")
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, `{"server_status":"ok"}`, string(text))
	require.NoError(t, a.st.Close())
	require.Equal(t, `503 {"status":"error","error_detail":"DATABASE_ERROR"}`, a.post("/process", poll("c2", "form", "y")))
	require.Equal(t, `500 {"error":"CACHE_CLEAR_FAILED"}`, a.post("/clear", `{"client_id":"c1"}`))
}

// TestTimeout: a task that isn't done in time has failed when it is asked for.
func TestTimeout(t *testing.T) {
	a := serve(t, filepath.Join(t.TempDir(), "tasks.db"), docusnap.Timeout(time.Nanosecond))
	require.Equal(t, processing, a.post("/process", submit("c", "doc", "x")))
	const timedOut = `400 {"status":"error","error_detail":"PROCESSING_TIMEOUT"}`
	require.Equal(t, timedOut, a.post("/process", poll("c", "doc", "x")))
	require.Equal(t, timedOut, a.post("/process", submit("c", "doc", "x")))
}

// TestNew: nobody is let in unless it is said who.
func TestNew(t *testing.T) {
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"))
	require.NoError(t, err)
	defer st.Close()
	_, err = docusnap.New(st)
	require.Error(t, err)
	_, err = docusnap.New(nil, docusnap.Open())
	require.Error(t, err)
	h, err := docusnap.New(st, docusnap.Authorize(func(r *http.Request) error {
		if r.Header.Get("X-Key") != "k" {
			return errors.New("no")
		}
		return nil
	}))
	require.NoError(t, err)
	for key, want := range map[string]int{"": 401, "k": 200} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/check_status", nil)
		r.Header.Set("X-Key", key)
		h.ServeHTTP(w, r)
		require.Equal(t, want, w.Code)
	}
}

// TestImport: the backend's own file is refused with a word on what it is, and taken over by an import, which may be made again.
func TestImport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backend.db")
	c, err := sqlite3.Open("file:" + filepath.ToSlash(path))
	require.NoError(t, err)
	require.NoError(t, c.Exec(`CREATE TABLE tasks(client_id TEXT NOT NULL, sha256 TEXT NOT NULL, type TEXT NOT NULL, status TEXT NOT NULL, result TEXT,
		error_detail TEXT, created_at TEXT, last_accessed TEXT, PRIMARY KEY(client_id, sha256, type))`))
	h := hash("x")
	require.NoError(t, c.Exec("BEGIN"))
	for i := range 1200 {
		require.NoError(t, c.Exec(fmt.Sprintf("INSERT INTO tasks VALUES('many', '%s', 'doc', 'completed', 'sealed %d', NULL, '2025-07-01 10:00:00', '2025-07-02 10:00:00')", hash(fmt.Sprint(i)), i)))
	}
	require.NoError(t, c.Exec(`INSERT INTO tasks VALUES
		('c', '`+h+`', 'doc', 'completed', 'c2VhbGVk', NULL, '2025-07-01 10:00:00', '2025-07-02 10:00:00'),
		('c', '`+h+`', 'form', 'error', NULL, 'LLM_FAILURE', '2025-07-01 10:00:00', '2025-07-02 10:00:00'),
		('c', '`+h+`', 'fill', 'processing', NULL, NULL, '2025-07-01 10:00:00', '2025-07-02 10:00:00'),
		('c', '`+h+`', 'letter', 'completed', 'x', NULL, 'yesterday', NULL)`))
	require.NoError(t, c.Exec("COMMIT"))
	require.NoError(t, c.Close())

	_, err = tasks.Open(t.Context(), path)
	var table *tasks.TableError
	require.ErrorAs(t, err, &table)
	require.Contains(t, table.Found, "DocuSnap")

	a := serve(t, filepath.Join(t.TempDir(), "tasks.db"))
	stop := a.process(func(context.Context, tasks.Info) (any, error) { return "worked on", nil })
	n, err := docusnap.Import(t.Context(), a.st, path)
	require.NoError(t, err)
	require.Equal(t, docusnap.Imported{Tasks: 1202, Skipped: 2}, n)
	n, err = docusnap.Import(t.Context(), a.st, path)
	require.NoError(t, err)
	require.Equal(t, docusnap.Imported{Known: 1202, Skipped: 2}, n)
	require.Equal(t, `200 {"status":"completed","result":"c2VhbGVk"}`, a.post("/process", poll("c", "doc", "x")))
	require.Equal(t, `400 {"status":"error","error_detail":"LLM_FAILURE"}`, a.post("/process", poll("c", "form", "x")))
	require.Equal(t, `400 {"status":"error","error_detail":"TASK_NOT_FOUND"}`, a.post("/process", poll("c", "fill", "x")))
	require.Equal(t, `200 {"status":"completed","result":"sealed 7"}`, a.post("/process", poll("many", "doc", "7")))
	stop()

	_, err = docusnap.Import(t.Context(), a.st, filepath.Join(t.TempDir(), "none.db"))
	require.Error(t, err)
	own := filepath.Join(t.TempDir(), "own.db")
	other, err := tasks.Open(t.Context(), own)
	require.NoError(t, err)
	require.NoError(t, other.Close())
	_, err = docusnap.Import(t.Context(), a.st, own)
	require.ErrorContains(t, err, "client_id")
}
