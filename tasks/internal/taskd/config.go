package taskd

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/docusnap/asyncvfs/tasks"
	"github.com/docusnap/asyncvfs/tasks/taskhttp"
)

// config is what the flags and the environment say.
type config struct {
	listen   string
	store    string
	types    []tasks.Type
	tokens   []taskhttp.Token
	printed  string // the token that was made up, if none was given
	open     bool
	keep     time.Duration
	grace    time.Duration
	streams  waiting // of events
	polls    waiting // long ones
	docusnap bool
	demo     bool
	folder   string
	workers  int
	rate     float64
	logLevel slog.Level
}

// waiting is how many may wait at the same time.
type waiting struct{ ofClient, inAll int }

// waitingMost is how many may wait at most. Each takes about 32 KiB and an open file.
const waitingMost = 1_000_000

// configure reads the flags, and the environment for those that aren't given.
func configure(stores Openers, args []string, env func(string) (string, bool), stderr io.Writer) (*config, error) {
	c := &config{}
	flags := flag.NewFlagSet("taskd", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.listen, "listen", "127.0.0.1:8377", "`address` to listen at")
	flags.StringVar(&c.store, "store", "tasks.db", "`path` of the SQLite database, which is made if it isn't there, or the URL of another store ("+stores.schemes()+")")
	types := flags.String("types", "", "types of tasks that are accepted beside document, form and form_filling, separated by `commas`")
	tokens := flags.String("tokens", "", "`file` of tokens, a JSON array; without it, and without the variable TASKD_TOKEN, one is made up and printed")
	flags.BoolVar(&c.open, "open", false, "let everybody do everything who reaches the address, which has to be a loopback one")
	flags.DurationVar(&c.keep, "keep", 7*24*time.Hour, "how long tasks are kept that are done; 0 is for ever")
	flags.DurationVar(&c.grace, "grace", 20*time.Second, "how long requests and handlers may go on after SIGTERM")
	flags.IntVar(&c.streams.inAll, "streams", 10_000, "how many streams of events may be open at the same time, 0 to 1000000; each takes about 32 KiB and an open file")
	flags.IntVar(&c.streams.ofClient, "clientstreams", 64, "how many of them of one client: a token's name, or an address")
	flags.IntVar(&c.polls.inAll, "polls", 10_000, "how many long polls may wait at the same time, 0 to 1000000")
	flags.IntVar(&c.polls.ofClient, "clientpolls", 256, "how many of them of one client")
	flags.BoolVar(&c.docusnap, "docusnap", false, "serve the API of DocuSnap's app at /api/v1/, to everybody who reaches the address: its clients have no credentials")
	flags.BoolVar(&c.demo, "demo", false, "create and process tasks, the text files of -folder, so that there is something to see")
	flags.StringVar(&c.folder, "folder", "", "`folder` of the demo; default: a part of the Go toolchain's source")
	flags.IntVar(&c.workers, "workers", 4, "how many tasks of the demo are processed at the same time")
	flags.Float64Var(&c.rate, "rate", 5, "how many tasks of the demo are created a second")
	level := flags.String("log", "info", "what is logged: debug, info, warn or error")
	flags.Usage = func() {
		fmt.Fprintf(stderr, "usage: taskd [flags]\nEach flag may be an environment variable instead, such as TASKD_LISTEN for -listen.\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%q: want flags only", flags.Arg(0))
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var errs []error
	flags.VisitAll(func(f *flag.Flag) {
		name := "TASKD_" + strings.ToUpper(f.Name)
		if value, ok := env(name); ok && !given[f.Name] {
			if err := f.Value.Set(value); err != nil {
				errs = append(errs, fmt.Errorf("%s=%q: %w", name, value, err))
			}
		}
	})
	if err := c.logLevel.UnmarshalText([]byte(*level)); err != nil {
		errs = append(errs, fmt.Errorf("-log %q: want debug, info, warn or error", *level))
	}
	for one := range strings.SplitSeq(*types, ",") {
		if one = strings.TrimSpace(one); one != "" {
			c.types = append(c.types, tasks.Type(one))
		}
	}
	secret, _ := env("TASKD_TOKEN")
	errs = append(errs, c.check(), c.setTokens(*tokens, secret))
	return c, errors.Join(errs...)
}

// check returns what isn't right about the values by themselves.
func (c *config) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	host, _, err := net.SplitHostPort(c.listen)
	if err != nil {
		bad("-listen %q: want host:port, such as 127.0.0.1:8377 or :8377", c.listen)
	} else if ip := net.ParseIP(host); c.open && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		bad("-open with -listen %s: others than this machine's users would reach it; want 127.0.0.1, ::1 or localhost", c.listen)
	}
	if c.store == "" {
		bad("-store: want a path or a URL")
	}
	if c.keep != 0 && c.keep < time.Minute {
		bad("-keep %v: want 0, or 1m or more", c.keep)
	}
	if c.grace < 0 || c.grace > time.Hour {
		bad("-grace %v: want 0 to 1h", c.grace)
	}
	if c.workers < 1 || c.workers > 1000 {
		bad("-workers %d: want 1 to 1000", c.workers)
	}
	if !(c.rate > 0 && c.rate <= 10_000) {
		bad("-rate %v: want more than 0, and 10000 at most", c.rate)
	}
	for _, n := range []struct {
		name  string
		value int
	}{{"streams", c.streams.inAll}, {"clientstreams", c.streams.ofClient}, {"polls", c.polls.inAll}, {"clientpolls", c.polls.ofClient}} {
		if n.value < 0 || n.value > waitingMost {
			bad("-%s %d: want 0 to %d", n.name, n.value, waitingMost)
		}
	}
	if c.folder != "" && !c.demo {
		bad("-folder is the demo's: want -demo with it")
	}
	return errors.Join(errs...)
}

// token is a token as the file has it.
type token struct {
	Secret  string    `json:"secret"`
	Name    string    `json:"name"`
	Rights  string    `json:"rights"`
	Owner   string    `json:"owner"`
	Prefix  string    `json:"prefix"`
	Expires time.Time `json:"expires"`
}

// setTokens reads the file of tokens, or takes the one of the environment, or makes one up.
func (c *config) setTokens(file, secret string) error {
	switch {
	case c.open && (file != "" || secret != ""):
		return errors.New("-open lets everybody in: want no tokens with it")
	case c.open:
		return nil
	case file != "" && secret != "":
		return errors.New("-tokens and TASKD_TOKEN: want one of them")
	case secret != "":
		c.tokens = []taskhttp.Token{{Secret: secret, Principal: taskhttp.Principal{Name: "admin", Rights: taskhttp.Admin}}}
		return nil
	case file == "":
		c.printed = rand.Text()
		c.tokens = []taskhttp.Token{{Secret: c.printed, Principal: taskhttp.Principal{Name: "admin", Rights: taskhttp.Admin}}}
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("-tokens: %w", err)
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	var list []token
	if err := d.Decode(&list); err != nil {
		return fmt.Errorf("-tokens %s: %w", file, err)
	}
	if len(list) == 0 {
		return fmt.Errorf("-tokens %s: there are none", file)
	}
	rights := []string{"", "read", "write", "admin"}
	for i, t := range list {
		right := slices.Index(rights, t.Rights)
		if right < 1 {
			return fmt.Errorf("-tokens %s: token %d: rights %q: want read, write or admin", file, i, t.Rights)
		}
		c.tokens = append(c.tokens, taskhttp.Token{Secret: t.Secret, Expires: t.Expires,
			Principal: taskhttp.Principal{Name: t.Name, Rights: taskhttp.Right(right), Owner: t.Owner, Prefix: t.Prefix}})
	}
	return nil
}

// authorizer returns who may do what.
func (c *config) authorizer() taskhttp.Option {
	if c.open {
		return taskhttp.Open()
	}
	return taskhttp.Tokens(c.tokens...)
}
