// Package files turns the text files of a folder into tasks and analyses: what the demo and the program taskd work on.
package files

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/docusnap/asyncvfs/tasks"
)

const (
	// MaxFileSize is how large a file may be, in bytes.
	MaxFileSize = 1 << 20
	topWords    = 5
	// prefixRoom is how many bytes may be put before a file's name to make an id of it.
	prefixRoom = 16
	// MaxFiles keeps the demo to seconds on a large folder.
	MaxFiles = 2000
)

// goFolders are the parts of the Go toolchain's source that are read if no folder is named:
// enough files to measure something, few enough to be done soon.
var goFolders = []string{"encoding", "go", "net", "os", "syscall"}

// Source is the text files of a folder.
type Source struct {
	FS      fs.FS
	Folder  string   // to name in errors
	Parts   []string // of the folder, unless it is read as a whole
	Files   []string
	Bytes   int64
	Skipped int  // binary, too large, unreadable or with a name that can't be an id
	Capped  bool // there may be more files than MaxFiles
}

// errNotText says that a file is skipped.
var errNotText = errors.New("not a text file of up to 1 MiB")

// OpenFolder returns the folder to read, and which parts of it.
func OpenFolder(ctx context.Context, name string) (folder string, parts []string, err error) {
	if name == "" {
		out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
		if ctx.Err() != nil {
			return "", nil, ctx.Err()
		}
		if err != nil {
			return "", nil, fmt.Errorf("can't find the Go source, name a folder instead: go env GOROOT: %w", err)
		}
		name, parts = filepath.Join(strings.TrimSpace(string(out)), "src"), goFolders
	} else {
		parts = []string{"."}
	}
	info, err := os.Stat(name)
	if err != nil {
		return "", nil, fmt.Errorf("can't read the folder: %w", err)
	}
	if !info.IsDir() {
		return "", nil, fmt.Errorf("%s is not a folder", name)
	}
	return name, parts, nil
}

// Scan finds the first MaxFiles text files. It reads each one, so all runs find them in the page cache:
// the first run isn't slower for having to wait for the disk.
func Scan(ctx context.Context, fsys fs.FS, folder string, parts []string) (*Source, error) {
	src := &Source{FS: fsys, Folder: folder}
	if len(parts) > 1 {
		src.Parts = parts
	}
	for _, part := range parts {
		err := fs.WalkDir(fsys, part, func(name string, d fs.DirEntry, err error) error {
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil && name == part:
				return err
			case err != nil:
				src.Skipped++
				return nil
			case !d.Type().IsRegular():
				return nil
			case len(src.Files) == MaxFiles:
				src.Capped = true
				return fs.SkipAll
			}
			text, err := src.Read(name)
			if err != nil || !isID(strings.Repeat("x", prefixRoom)+name) {
				src.Skipped++
				return nil
			}
			src.Files = append(src.Files, name)
			src.Bytes += int64(len(text))
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("can't read folder %s: %w", folder, err)
		}
	}
	if len(src.Files) == 0 {
		return nil, fmt.Errorf("folder %s has no text file (%d files skipped: binary, over 1 MiB, unreadable or with a name that can't be an id)",
			folder, src.Skipped)
	}
	return src, nil
}

// isID reports whether a task may have that id: the ids are the files' names.
func isID(id string) bool {
	return len(id) <= tasks.MaxID && utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl)
}

// Read returns the text of a file.
func (src *Source) Read(name string) ([]byte, error) {
	f, err := src.FS.Open(name)
	if err != nil {
		return nil, fmt.Errorf("folder %s: %w", src.Folder, err)
	}
	defer f.Close()
	// The size that the file system tells isn't relied on: the file may be growing.
	text, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("folder %s: %w", src.Folder, err)
	}
	if len(text) > MaxFileSize || bytes.IndexByte(text, 0) >= 0 || !utf8.Valid(text) {
		return nil, fmt.Errorf("folder %s: %s: %w", src.Folder, name, errNotText)
	}
	return text, nil
}

// Analysis is the result of a task.
type Analysis struct {
	Size   int         `json:"size"`
	SHA256 string      `json:"sha256"`
	Lines  int         `json:"lines"`
	Words  []WordCount `json:"words"`
}

// WordCount is how often a word is there.
type WordCount struct {
	Word  string `json:"word"`
	Count int    `json:"count"`
}

// Analyze analyzes a text.
func Analyze(text []byte) Analysis {
	sum := sha256.Sum256(text)
	lines := bytes.Count(text, []byte("\n"))
	if len(text) > 0 && text[len(text)-1] != '\n' {
		lines++ // the last line isn't ended
	}
	return Analysis{
		Size:   len(text),
		SHA256: hex.EncodeToString(sum[:]),
		Lines:  lines,
		Words:  frequentWords(string(text)),
	}
}

// frequentWords returns the most frequent words, in lower case.
// Of equally frequent ones the first in the alphabet comes first, so that runs agree.
func frequentWords(text string) []WordCount {
	counts := map[string]int{}
	for word := range strings.FieldsFuncSeq(text, isNoLetter) {
		counts[strings.ToLower(word)]++
	}
	words := make([]WordCount, 0, len(counts))
	for word, n := range counts {
		words = append(words, WordCount{word, n})
	}
	slices.SortFunc(words, func(a, b WordCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Word, b.Word))
	})
	return words[:min(topWords, len(words))]
}

// A combining mark is part of its letter.
func isNoLetter(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) }
