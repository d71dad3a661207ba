package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const textFiles = 40

// texts returns text files, one of them empty, and some that are skipped.
func texts() fstest.MapFS {
	files := fstest.MapFS{
		"binary":                 {Data: []byte("a\x00b")},
		"latin1.txt":             {Data: []byte("Stra\xdfe")},
		"large.txt":              {Data: bytes.Repeat([]byte("a"), maxFileSize+1)},
		"empty.txt":              {},
		"größe/日本 語's #1%41.txt": {Data: []byte("größe GRÖSSE größe 日本")},
	}
	for i := range textFiles - 2 {
		files[fmt.Sprintf("sub/%d.txt", i)] = &fstest.MapFile{Data: bytes.Repeat([]byte("Ünïcode text\n"), i)}
	}
	return files
}

func TestDemo(t *testing.T) {
	folder, dir := t.TempDir(), t.TempDir()
	require.NoError(t, os.CopyFS(folder, texts()))
	var stdout, stderr bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"-dir", dir, folder}, &stdout, &stderr), stderr.String())
	t.Log(stdout.String())

	assert.Contains(t, stdout.String(), fmt.Sprintf("%d text files", textFiles))
	assert.Contains(t, stdout.String(), "3 other files skipped")
	assert.Contains(t, stdout.String(), "All databases are ok and hold the same rows.")
	found := regexp.MustCompile(fmt.Sprintf(`integrity_check: ok, rows: %d of %d, checksum: ([0-9a-f]{64})\n`, textFiles, textFiles)).
		FindAllStringSubmatch(stdout.String(), -1)
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
			src, err := scan(t.Context(), texts(), "texts", []string{"."})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			hooked := &hookFS{FS: src.fsys, hook: cancel}
			hooked.left.Store(int64(i*textFiles + textFiles/2))
			src.fsys = hooked

			var stdout, stderr bytes.Buffer
			require.Equal(t, errInterrupted, runAll(ctx, src, dir, &stdout, &stderr))
			t.Log(stdout.String())
			assert.Contains(t, stdout.String(), "Interrupted during "+s.name)
			assert.Contains(t, stdout.String(), "integrity_check: ok")
			assert.Regexp(t, `All [1-9]\d* rows that were reported stored are there`, stdout.String())
			assertEmpty(t, dir)
		})
	}
}

// A file that can't be read any more stops all workers, and its error is the one reported.
func TestFileVanishes(t *testing.T) {
	dir, files := t.TempDir(), texts()
	src, err := scan(t.Context(), files, "texts", []string{"."})
	require.NoError(t, err)
	delete(files, "sub/7.txt")
	err = runAll(t.Context(), src, dir, new(bytes.Buffer), new(bytes.Buffer))
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, "sub/7.txt")
	assertEmpty(t, dir)
}

func TestChecks(t *testing.T) {
	files := []string{"a", "b"}
	results := []result{
		{setup: setups[0], reported: []stage{completed, completed}},
		{setup: setups[1], reported: []stage{completed, completed}},
	}
	good := contents{"ok", map[string]string{"a": "completed", "b": "completed"}, "1"}
	for want, bad := range map[string]contents{
		"async FULL: integrity_check failed: page 7":           {"page 7", good.status, "1"},
		"async FULL: 1 rows for 2 files, 1 not as reported":    {"ok", map[string]string{"a": "completed"}, "1"},
		"async FULL: 2 rows for 2 files, 1 not as reported":    {"ok", map[string]string{"a": "completed", "b": "pending"}, "1"},
		"async FULL: its rows differ from those of stock FULL": {"ok", good.status, "2"},
	} {
		assert.EqualError(t, printChecks(new(bytes.Buffer), results, []contents{good, bad}, files), "checks failed: "+want)
	}
	assert.NoError(t, printChecks(new(bytes.Buffer), results, []contents{good, good}, files))

	// A row may be further than was reported, and there without having been reported.
	r := &result{setup: setups[2], reported: []stage{notStored, pending}}
	assert.NoError(t, printInterrupted(new(bytes.Buffer), r, good, files))
	assert.ErrorContains(t, printInterrupted(new(bytes.Buffer), r, contents{integrity: "ok"}, files),
		"of 1 rows reported stored, 1 are missing")
}

func TestAnalyze(t *testing.T) {
	const none = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	assert.Equal(t, analysis{SHA256: none, Words: []wordCount{}}, analyze(nil))

	got := analyze([]byte("abc"))
	assert.Equal(t, analysis{3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 1, []wordCount{{"abc", 1}}}, got)

	got = analyze([]byte("The größe, the GRÖßE: the\n\nre\u0301sume\u0301 re\u0301sume\u0301 x1 y z_z 日本 a b"))
	assert.Equal(t, 3, got.Lines)
	assert.Equal(t, []wordCount{{"the", 3}, {"größe", 2}, {"re\u0301sume\u0301", 2}, {"z", 2}, {"a", 1}}, got.Words)
	assert.Equal(t, 2, analyze([]byte("a\nb\n")).Lines)
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
