package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/docusnap/asyncvfs/internal/demo/files"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const textFiles = 40

// texts returns text files, two of them empty, and some that are skipped.
func texts() fstest.MapFS {
	folder := fstest.MapFS{
		"binary":                 {Data: []byte("a\x00b")},
		"latin1.txt":             {Data: []byte("Stra\xdfe")},
		"large.txt":              {Data: bytes.Repeat([]byte("a"), files.MaxFileSize+1)},
		"empty.txt":              {},
		"control\x01":            {Data: []byte("a name that can't be an id")},
		"größe/日本 語's #1%41.txt": {Data: []byte("größe GRÖSSE größe 日本")},
	}
	for i := range textFiles - 2 {
		folder[fmt.Sprintf("sub/%d.txt", i)] = &fstest.MapFile{Data: bytes.Repeat([]byte("Ünïcode text\n"), i)}
	}
	return folder
}

func TestDemo(t *testing.T) {
	folder, dir := t.TempDir(), t.TempDir()
	require.NoError(t, os.CopyFS(folder, texts()))
	var stdout, stderr bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"-dir", dir, folder}, &stdout, &stderr), stderr.String())
	t.Log(stdout.String())

	out := stdout.String()
	assert.Contains(t, out, fmt.Sprintf("%d text files", textFiles))
	assert.Contains(t, out, "4 other files skipped")
	assert.NotContains(t, out, "the first")
	for _, s := range setups {
		assert.Regexp(t, `(?m)^ *`+s.name+` +\d+\.\d\d +\d+ `, out)
	}
	for _, call := range []string{"insert", "update to processing", "update to completed"} {
		assert.Regexp(t, fmt.Sprintf(`stock FULL +%s +%d `, call, textFiles), out)
	}
	assert.Regexp(t, fmt.Sprintf(`stock FULL +of each: open and close +%d `, 3*textFiles), out)
	for _, call := range []string{"Create", "Do"} {
		assert.Regexp(t, fmt.Sprintf(`task API +%s +%d `, call, textFiles), out)
		assert.Regexp(t, fmt.Sprintf(`task API again +%s +%d `, call, textFiles), out)
	}
	first := regexp.MustCompile(fmt.Sprintf(`Cache, task API: (\d+) of %d tasks answered from it, (\d+) waited .*, %d analyzed\n`,
		textFiles, textFiles-1)).FindStringSubmatch(out) // two files are empty
	require.Len(t, first, 3)
	assert.ElementsMatch(t, []string{"0", "1"}, first[1:])
	assert.Contains(t, out, fmt.Sprintf("Cache, task API again: %d of %d tasks answered from it, 0 waited for the same content's analysis, 0 analyzed\n",
		textFiles, textFiles))
	assert.Contains(t, out, "All databases are ok, all tasks are completed, and their results are the same.")
	found := regexp.MustCompile(fmt.Sprintf(`integrity_check: ok, tasks completed: %d of %d, checksum of \(id, result\): ([0-9a-f]{64})\n`, textFiles, textFiles)).
		FindAllStringSubmatch(out, -1)
	require.Len(t, found, len(setups))
	for _, f := range found {
		assert.Equal(t, found[0][1], f[1])
	}
	assertEmpty(t, dir)
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("a\x00b"), 0o600))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()

	for name, test := range map[string]struct {
		ctx    context.Context
		args   []string
		status int
		stderr string
	}{
		"missing folder":    {t.Context(), []string{missing}, 1, missing + ": "},
		"no folder":         {t.Context(), []string{file}, 1, file + " is not a folder"},
		"no text":           {t.Context(), []string{dir}, 1, dir + " has no text file (1 files skipped"},
		"no temp folder":    {t.Context(), []string{"-dir", missing, "."}, 1, missing},
		"two folders":       {t.Context(), []string{dir, dir}, 2, "usage"},
		"unknown flag":      {t.Context(), []string{"-x"}, 2, "-x"},
		"help":              {t.Context(), []string{"-h"}, 0, "usage"},
		"interrupted early": {cancelled, []string{"."}, exitInterrupted, "Interrupted."},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			assert.Equal(t, test.status, run(test.ctx, test.args, &stdout, &stderr))
			assert.Contains(t, stderr.String(), test.stderr)
			assert.Empty(t, stdout.String())
		})
	}
}

// hookFS calls a function before the n-th file is opened.
type hookFS struct {
	fs.FS
	left atomic.Int64
	hook func()
}

func (f *hookFS) Open(name string) (fs.File, error) {
	if f.left.Add(-1) == 0 {
		f.hook()
	}
	return f.FS.Open(name)
}

func TestInterrupt(t *testing.T) {
	for i, s := range setups {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			src, err := files.Scan(t.Context(), texts(), "texts", []string{"."})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			hooked := &hookFS{FS: src.FS, hook: cancel}
			hooked.left.Store(int64(i*textFiles + textFiles/2))
			src.FS = hooked

			var stdout, stderr bytes.Buffer
			require.Equal(t, errInterrupted, runAll(ctx, src, dir, &stdout, &stderr))
			t.Log(stdout.String())
			assert.Contains(t, stdout.String(), "Interrupted during "+s.name)
			assert.Contains(t, stdout.String(), "integrity_check: ok")
			assert.Regexp(t, `All [1-9]\d* tasks that were reported stored are there`, stdout.String())
			assertEmpty(t, dir)
		})
	}
}

// A file that can't be read any more stops all workers, and its error is the one reported.
func TestFileVanishes(t *testing.T) {
	dir, folder := t.TempDir(), texts()
	src, err := files.Scan(t.Context(), folder, "texts", []string{"."})
	require.NoError(t, err)
	delete(folder, "sub/7.txt")
	err = runAll(t.Context(), src, dir, new(bytes.Buffer), new(bytes.Buffer))
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, "stock FULL: ")
	assert.ErrorContains(t, err, "sub/7.txt")
	assertEmpty(t, dir)

	counting, err := registerVFS()
	require.NoError(t, err)
	for _, s := range setups {
		m := &meter{w: new(bytes.Buffer)}
		_, err := s.do(t.Context(), filepath.Join(t.TempDir(), s.file), src, counting, m)
		assert.ErrorIs(t, err, fs.ErrNotExist, s.name)
		assert.ErrorContains(t, err, "sub/7.txt", s.name)
	}
}

func TestScanIsCapped(t *testing.T) {
	folder := fstest.MapFS{}
	for i := range files.MaxFiles {
		folder[fmt.Sprintf("%d.txt", i)] = &fstest.MapFile{}
	}
	src, err := files.Scan(t.Context(), folder, "texts", []string{"."})
	require.NoError(t, err)
	assert.Len(t, src.Files, files.MaxFiles)
	assert.False(t, src.Capped)

	folder["one more"] = &fstest.MapFile{}
	src, err = files.Scan(t.Context(), folder, "texts", []string{"."})
	require.NoError(t, err)
	assert.Len(t, src.Files, files.MaxFiles)
	assert.True(t, src.Capped)
	var out bytes.Buffer
	printAbout(&out, src, "dir")
	assert.Contains(t, out.String(), fmt.Sprintf("the first %d text files", files.MaxFiles))
}

// The progress is that of the run, not of the tasks that were there before.
func TestMeter(t *testing.T) {
	src, err := files.Scan(t.Context(), texts(), "texts", []string{"."})
	require.NoError(t, err)
	counting, err := registerVFS()
	require.NoError(t, err)
	dir := t.TempDir()
	for _, s := range setups {
		var out bytes.Buffer
		m := &meter{name: s.name, total: textFiles, w: &out, start: time.Now()}
		hooked := *src
		// By then some are created, and not all are completed.
		fsys := &hookFS{FS: src.FS, hook: func() { m.print(t.Context()) }}
		fsys.left.Store(textFiles / 2)
		hooked.FS = fsys
		_, err := s.do(t.Context(), filepath.Join(dir, s.file), &hooked, counting, m)
		require.NoError(t, err)
		line := regexp.MustCompile(`(?m)^` + s.name + ` +(\d+) tasks created, (\d+) completed of ` + fmt.Sprint(textFiles) + `, \d+ completed/s$`).
			FindStringSubmatch(out.String())
		require.Len(t, line, 3, out.String())
		created, err := strconv.Atoi(line[1])
		require.NoError(t, err)
		done, err := strconv.Atoi(line[2])
		require.NoError(t, err)
		assert.LessOrEqual(t, created, textFiles)
		assert.Less(t, done, textFiles)
		assert.Less(t, done, created)
	}
}

func TestChecks(t *testing.T) {
	files := []string{"a", "b"}
	both := []stage{completed, completed}
	results := []*result{
		{setup: setups[0], reported: both},
		{setup: setups[1], reported: both},
		{setup: setups[2], reported: both},
	}
	// Of the store's tasks, four are of its two runs.
	with := func(integrity, id string, change task) map[string]contents {
		good := map[string]contents{
			"module.db": {"ok", map[string]task{"a": {"completed", "1"}, "b": {"completed", "2"}}},
			"tasks.db": {integrity, map[string]task{"a": {"completed", "1"}, "b": {"completed", "2"},
				againPrefix + "a": {"completed", "1"}, againPrefix + "b": {"completed", "2"}}},
		}
		if id != "" {
			good["tasks.db"].tasks[id] = change
		}
		return good
	}
	assert.NoError(t, printChecks(new(bytes.Buffer), results, with("ok", "", task{}), files))
	for want, bad := range map[string]map[string]contents{
		"task API: integrity_check failed: page 7; task API again: integrity_check failed: page 7": with("page 7", "", task{}),
		"task API: 1 of 2 tasks completed, 1 not as reported":                                      with("ok", "a", task{"processing", "1"}),
		"task API again: 1 of 2 tasks completed, 1 not as reported":                                with("ok", againPrefix+"b", task{"error", "2"}),
		"task API: its results differ from those of stock FULL":                                    with("ok", "b", task{"completed", "3"}),
		"task API again: its results differ from those of stock FULL":                              with("ok", againPrefix+"b", task{"completed", ""}),
		"task API: tasks.db has 5 tasks, not 4; task API again: tasks.db has 5 tasks, not 4":       with("ok", "c", task{"completed", "1"}),
	} {
		assert.EqualError(t, printChecks(new(bytes.Buffer), results, bad, files), "checks failed: "+want)
	}

	// A task may be further than was reported, and there without having been reported.
	r := &result{setup: setups[2], reported: []stage{notStored, created}}
	assert.NoError(t, printInterrupted(new(bytes.Buffer), r, with("ok", "", task{})["tasks.db"], files))
	assert.ErrorContains(t, printInterrupted(new(bytes.Buffer), r, contents{integrity: "ok"}, files),
		"of 1 tasks reported stored, 1 are missing")
}

func assertEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	assert.Empty(t, strings.Join(names, " "))
}
