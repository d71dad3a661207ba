package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/url"
	"os"
	"testing"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/internal/taskd"
	"github.com/docusnap/asyncvfs/tasks/postgres"
	"github.com/docusnap/asyncvfs/tasks/postgres/pgtest"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
	"github.com/docusnap/asyncvfs/tasks/taskhttp/client"
	"github.com/stretchr/testify/require"
)

var server *pgtest.Server

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, func(s *pgtest.Server) { server = s })) }

// TestServe: what a client creates is in the database, the program ends well, and a password isn't told.
func TestServe(t *testing.T) {
	at := server.TCP("postgres")
	token := "0123456789abcdef"
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"TASKD_TOKEN": token, "TASKD_STORE": at}[name]
		return v, ok
	}
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		ended <- taskd.Run(ctx, stores, []string{"-listen", "127.0.0.1:0"}, env, in, &stderr)
		in.Close()
	}()
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	c, err := client.New(lines.Text(), client.Token(token), client.Retries(0))
	require.NoError(t, err)
	_, err = c.Create(t.Context(), taskhttp.NewTask{ID: "a", Type: tasks.Form})
	require.NoError(t, err)
	cancel()
	require.Zero(t, <-ended, stderr.String())
	st, err := postgres.Open(t.Context(), at)
	require.NoError(t, err)
	defer st.Close()
	got, err := st.Status(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, tasks.Pending, got.Status)

	stderr.Reset()
	u, err := url.Parse("postgresql://user:secret@127.0.0.1:1/none?connect_timeout=1")
	require.NoError(t, err)
	failing, stop := context.WithCancel(t.Context())
	stop()
	require.Equal(t, 1, taskd.Run(failing, stores, []string{"-listen", "127.0.0.1:0", "-store", u.String() + "&sslmode=wrong"}, env, io.Discard, &stderr))
	require.NotContains(t, stderr.String(), "secret")
}
