// Demo makes each text file of a folder a task, whose result is the file's analysis, with package tasks:
// the tasks are created durably, processed by workers, and their results are cached and stored.
// A second run over the same files is answered from the cache. For comparison, the same work is done
// as DocuSnap's Python module does it, on go-sqlite3's own VFS.
// It prints what was measured, and shows that the databases are sound and hold the same results.
//
//	go run ./internal/demo [-dir databases] [folder]
//
// Without a folder it reads a part of the Go toolchain's source.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"

	"github.com/docusnap/asyncvfs/internal/demo/files"
)

// exitInterrupted is what a shell reports of a program that Ctrl-C ended.
const exitInterrupted = 130

var errInterrupted = errors.New("interrupted")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	// From then on the second Ctrl-C kills at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: demo [-dir databases] [folder]")
		flags.PrintDefaults()
	}
	dir := flags.String("dir", os.TempDir(), "where to put the databases, in a folder that is removed at the end;\n"+
		"where that is a memory disk, syncs cost nothing and the runs differ little")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() > 1 {
		flags.Usage()
		return 2
	}

	err := demo(ctx, flags.Arg(0), *dir, stdout, stderr)
	switch {
	case err == nil:
		return 0
	case err == errInterrupted:
		return exitInterrupted
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(stderr, "Interrupted.")
		return exitInterrupted
	}
	fmt.Fprintln(stderr, "demo:", err)
	return 1
}

// demo does everything for the files of a folder.
func demo(ctx context.Context, folder, dir string, stdout, stderr io.Writer) error {
	folder, parts, err := files.OpenFolder(ctx, folder)
	if err != nil {
		return err
	}
	src, err := files.Scan(ctx, os.DirFS(folder), folder, parts)
	if err != nil {
		return err
	}
	return runAll(ctx, src, dir, stdout, stderr)
}

// runAll does the runs and compares them.
func runAll(ctx context.Context, src *files.Source, parent string, stdout, stderr io.Writer) (err error) {
	counting, err := registerVFS()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(parent, "asyncvfs-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the databases: %w", err)
	}
	defer func() {
		if e := os.RemoveAll(dir); e != nil {
			err = errors.Join(err, fmt.Errorf("remove %s: %w", dir, e))
		}
	}()
	printAbout(stdout, src, dir)

	results := make([]*result, len(setups))
	for i, s := range setups {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		runtime.GC() // so that a run doesn't pay for the one before
		path := filepath.Join(dir, s.file)
		m := &meter{name: s.name, total: len(src.Files), w: stderr, terminal: isTerminal(stderr)}
		results[i], err = s.do(ctx, path, src, counting, m)
		if err != nil && err == context.Cause(ctx) {
			return interrupted(ctx, stdout, results[i], path, src)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if err := printTables(stdout, results); err != nil {
		return err
	}

	found := map[string]contents{}
	for _, s := range setups {
		if _, ok := found[s.file]; ok {
			continue
		}
		if found[s.file], err = inspect(ctx, filepath.Join(dir, s.file)); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
	}
	return printChecks(stdout, results, found, src.Files)
}

// interrupted checks the database of a run that was interrupted.
func interrupted(ctx context.Context, stdout io.Writer, r *result, path string, src *files.Source) error {
	c, err := inspect(context.WithoutCancel(ctx), path)
	if err != nil {
		return err
	}
	if err := printInterrupted(stdout, r, c, src.Files); err != nil {
		return err
	}
	return errInterrupted
}
