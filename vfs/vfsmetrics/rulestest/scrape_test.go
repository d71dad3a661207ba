package rulestest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/vfs"
	"github.com/docusnap/asyncvfs/vfs/vfsmetrics"
	"github.com/docusnap/asyncvfs/vfs/vfsmetrics/prom"
	"github.com/ncruces/go-sqlite3"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/teststorage"
	"github.com/stretchr/testify/require"
)

const (
	scrapes  = 5
	interval = 15 * time.Second
)

// begin is when the first scrape is taken to have been made.
var begin = time.Unix(1_700_000_000, 0)

// sample is a series' value in one scrape.
type sample struct {
	labels labels.Labels
	value  float64
}

// scraped are the scrapes of a service that uses a database and tasks in each way.
func scraped(t *testing.T) (all [scrapes][]sample) {
	provider, handler, err := prom.New(nil)
	require.NoError(t, err)
	defer provider.Shutdown(context.Background())
	server := httptest.NewServer(handler)
	defer server.Close()

	path := filepath.Join(t.TempDir(), "app.db")
	stop, err := vfsmetrics.Register(provider, vfsmetrics.Databases(path))
	require.NoError(t, err)
	defer stop()
	c, err := sqlite3.Open(vfs.DSN(path, vfs.Parameter("max_pending", "64KiB")))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Exec("CREATE TABLE t(x)"))

	m, err := vfsmetrics.NewTasks(provider)
	require.NoError(t, err)
	st, err := tasks.Open(t.Context(), filepath.Join(t.TempDir(), "tasks.db"), tasks.WithHooks(m.Hooks()))
	require.NoError(t, err)
	defer st.Close()
	stopTasks, err := m.Observe(st)
	require.NoError(t, err)
	defer stopTasks()
	ctx, cancel := context.WithCancel(t.Context())
	workers := make(chan error)
	go func() {
		workers <- st.Run(ctx, map[tasks.Type]tasks.Handler{
			tasks.Document: func(context.Context, tasks.Info) (any, error) { return 1, nil },
			tasks.Form:     func(context.Context, tasks.Info) (any, error) { return nil, tasks.Permanent(errors.New("no")) },
		}, 2)
	}()
	defer func() { cancel(); <-workers }()

	for i := range all {
		// At FULL, at NORMAL with more than may be pending, and a checkpoint.
		require.NoError(t, c.Exec("PRAGMA synchronous=full; INSERT INTO t VALUES(1); PRAGMA wal_checkpoint"))
		require.NoError(t, c.Exec("PRAGMA synchronous=normal; INSERT INTO t VALUES(randomblob(100000)); INSERT INTO t VALUES(1)"))
		for _, typ := range []tasks.Type{tasks.Document, tasks.Form} {
			id := string(typ) + strconv.Itoa(i)
			require.NoError(t, st.Create(t.Context(), id, typ))
			_, err := st.Wait(t.Context(), id)
			require.NoError(t, err)
		}
		for range 2 {
			_, err := st.Do(t.Context(), tasks.Form, i, func(context.Context) (any, error) { return 1, nil })
			require.NoError(t, err)
		}
		// What a broken machine is needed for.
		h, task := m.Hooks(), tasks.Info{Type: tasks.Form}
		h.LeaseLost(ctx, tasks.LeaseLostInfo{Task: task})
		h.Stuck(ctx, tasks.StuckInfo{Task: task})
		h.Trouble(ctx, tasks.TroubleInfo{})
		all[i] = scrape(t, server.URL)
	}
	return all
}

func scrape(t *testing.T, url string) (samples []sample) {
	res, err := http.Get(url)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	p, err := textparse.New(body, res.Header.Get("Content-Type"), labels.NewSymbolTable(), textparse.ParserOptions{})
	require.NoError(t, err)
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return samples
		}
		require.NoError(t, err)
		if entry != textparse.EntrySeries {
			continue
		}
		var l labels.Labels
		p.Labels(&l)
		_, _, value := p.Series()
		// What Prometheus adds.
		l = labels.NewBuilder(l).Set("job", "service").Set("instance", "localhost:9090").Labels()
		samples = append(samples, sample{l, value})
	}
}

// change is another value of a series in a scrape, as it would be in another state of the service.
type change func(l labels.Labels, scrape int, value float64) float64

// load stores the scrapes, with values changed.
func load(t *testing.T, all [scrapes][]sample, c change) storage.Queryable {
	db := teststorage.New(t)
	app := db.Appender(t.Context())
	for i, samples := range all {
		at := begin.Add(time.Duration(i) * interval).UnixMilli()
		for _, s := range samples {
			value := s.value
			if c != nil {
				value = c(s.labels, i, value)
			}
			_, err := app.Append(0, s.labels, at, value)
			require.NoError(t, err)
		}
	}
	require.NoError(t, app.Commit())
	return db
}
