package taskhttp_test

import (
	"net/http"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/stretchr/testify/require"
)

// TestLifeOfATask: a task is created, found, done and deleted.
func TestLifeOfATask(t *testing.T) {
	s := serve(t)
	resp, body := s.call(writerToken, "POST", "/tasks", `{"id":"a/b ü","type":"form","input":{"x":1},"labels":{"k":"v"},"priority":3}`)
	require.Equal(t, http.StatusCreated, resp.StatusCode, body)
	task := decode[taskhttp.Task](t, body)
	require.Equal(t, "a/b ü", task.ID)
	require.Equal(t, "me", task.Owner)
	location, err := resp.Location()
	require.NoError(t, err)
	path := location.EscapedPath()
	require.Equal(t, "/tasks/a%2Fb%20%C3%BC", path)

	resp, body = s.call(readerToken, "GET", path, "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, task, decode[taskhttp.Task](t, body))
	etag := resp.Header.Get("ETag")
	resp, body = s.call(readerToken, "GET", path, "", "If-None-Match", etag)
	require.Equal(t, http.StatusNotModified, resp.StatusCode)
	require.Empty(t, body)
	_, body = s.call(readerToken, "GET", path+"/input", "")
	require.Equal(t, `{"x":1}`, body)
	resp, _ = s.call(readerToken, "GET", path+"/result", "")
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	require.Equal(t, "1", resp.Header.Get("Retry-After"))

	require.NoError(t, s.Store.Update(t.Context(), task.ID, tasks.Completed, map[string]string{"text": "<b>"}))
	resp, body = s.call(readerToken, "GET", path+"/result", "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, `{"text":"<b>"}`, body)
	_, body = s.call(readerToken, "GET", "/tasks?status=completed&label=k:v", "")
	require.Len(t, decode[taskhttp.Page](t, body).Tasks, 1, body)
	_, body = s.call(adminToken, "GET", "/stats", "")
	require.Equal(t, 1, decode[taskhttp.Stats](t, body).Counts[tasks.Form][tasks.Completed], body)

	resp, _ = s.call(writerToken, "POST", path+"/cancel", "")
	require.Equal(t, http.StatusConflict, resp.StatusCode)
	resp, body = s.call(writerToken, "DELETE", path, "")
	require.Equal(t, http.StatusNoContent, resp.StatusCode, body)
	resp, body = s.call(writerToken, "GET", path, "")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
	require.Equal(t, task.ID, decode[taskhttp.Problem](t, body).Task)
}
