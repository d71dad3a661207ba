package docusnap

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/ncruces/go-sqlite3"
)

// Imported says what an import has done.
type Imported struct {
	Tasks   int // that were taken over
	Known   int // that were there already
	Skipped int // that weren't done: their input is in no file, so that a client has to submit them again
}

const (
	importBatch = 500
	importTime  = 24 * time.Hour
	importRows  = "SELECT client_id, sha256, type, status, coalesce(result, ''), coalesce(error_detail, '') FROM tasks WHERE status IN ('completed', 'error') ORDER BY rowid"
)

// Import takes over the tasks of the file that DocuSnap's backend keeps them in, which is left as it is.
// It may be called again: what is there already is left alone. What is taken over counts as created, and done, when it is.
// A file that isn't one of the backend's is an error.
func Import(ctx context.Context, to *tasks.Store, path string) (n Imported, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return n, err
	}
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed
	}
	c, err := sqlite3.OpenContext(ctx, (&url.URL{Scheme: "file", OmitHost: true, Path: slashed, RawQuery: "mode=ro"}).String())
	if err != nil {
		return n, fmt.Errorf("import %s: %w", path, err)
	}
	defer func() {
		err = errors.Join(err, c.Close())
		if err != nil {
			err = fmt.Errorf("import %s: %w", path, err)
		}
	}()
	all, err := count(c)
	if err != nil {
		return n, err
	}
	rows, _, err := c.Prepare(importRows)
	if err != nil {
		return n, err
	}
	defer rows.Close()
	var list []row
	flush := func() error {
		done, known, err := store(ctx, to, list)
		n.Tasks, n.Known, list = n.Tasks+done, n.Known+known, list[:0]
		return err
	}
	for rows.Step() {
		list = append(list, row{
			Submission: Submission{ClientID: rows.ColumnText(0), SHA256: rows.ColumnText(1), Type: rows.ColumnText(2)},
			status:     tasks.Status(rows.ColumnText(3)), result: rows.ColumnText(4), code: rows.ColumnText(5),
		})
		if len(list) == importBatch {
			if err := flush(); err != nil {
				return n, err
			}
		}
	}
	if err := errors.Join(rows.Err(), flush()); err != nil {
		return n, err
	}
	n.Skipped = all - n.Tasks - n.Known
	return n, to.Sync(ctx)
}

// row is a row of the file.
type row struct {
	Submission
	status       tasks.Status
	result, code string
}

func count(c *sqlite3.Conn) (int, error) {
	s, _, err := c.Prepare("SELECT count(*) FROM tasks WHERE client_id IS NOT NULL")
	if err != nil {
		return 0, err
	}
	defer s.Close()
	s.Step()
	return s.ColumnInt(0), s.Err()
}

// store makes tasks of rows. A row whose type or client can't be one is left out.
func store(ctx context.Context, to *tasks.Store, list []row) (done, known int, err error) {
	var (
		news []tasks.NewTask
		of   []row
	)
	for _, r := range list {
		kind, ok := types[r.Type]
		if !ok {
			continue
		}
		news = append(news, tasks.NewTask{ID: ID(r.ClientID, r.SHA256, r.Type), Type: kind, Options: []tasks.CallOption{
			// No worker shall take it before it is done.
			tasks.Owner(Owner(r.ClientID)), tasks.RunAt(time.Now().Add(importTime)),
		}})
		of = append(of, r)
	}
	errs := to.CreateMany(ctx, news, tasks.Relaxed())
	var completed []tasks.NewStatus
	for i, r := range of {
		if errs != nil && errs[i] != nil && !errors.Is(errs[i], tasks.ErrExists) {
			if errors.Is(errs[i], tasks.ErrInvalid) {
				continue
			}
			return done, known, errs[i]
		}
		if errs != nil && errs[i] != nil {
			there, err := to.Status(ctx, news[i].ID)
			if err != nil {
				return done, known, err
			}
			// An import that was broken off has left it undone, or a client has submitted it again since.
			if there.Status != tasks.Pending || there.RunAt.IsZero() {
				known++
				continue
			}
		}
		done++
		if r.status == tasks.Completed {
			completed = append(completed, tasks.NewStatus{ID: news[i].ID, Status: tasks.Completed, Result: r.result})
			continue
		}
		code := r.code
		if !codePattern.MatchString(code) {
			code = string(ProcessingError)
		}
		if err := to.Update(ctx, news[i].ID, tasks.Error, nil, tasks.ErrorText(code), tasks.Relaxed()); err != nil {
			return done, known, err
		}
	}
	return done, known, errors.Join(to.UpdateMany(ctx, completed, tasks.Relaxed())...)
}
