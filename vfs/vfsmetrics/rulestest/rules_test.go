package rulestest

import (
	"encoding/json"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// last is when the last scrape was made.
func last() time.Time { return begin.Add((scrapes - 1) * interval) }

func evaluate(t *testing.T, q storage.Queryable, expr string) promql.Vector {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	defer engine.Close()
	query, err := engine.NewInstantQuery(t.Context(), q, nil, expr, last())
	require.NoError(t, err, expr)
	defer query.Close()
	result := query.Exec(t.Context())
	require.NoError(t, result.Err, expr)
	require.Empty(t, result.Warnings, expr)
	v, err := result.Vector()
	require.NoError(t, err, expr)
	return v
}

// known are the names of metrics, and, of each, those of its labels.
func known(all [scrapes][]sample) map[string]map[string]bool {
	names := map[string]map[string]bool{}
	for _, samples := range all {
		for _, s := range samples {
			name := s.labels.Get(labels.MetricName)
			if names[name] == nil {
				names[name] = map[string]bool{"error_type": strings.HasSuffix(name, "_count") || strings.HasSuffix(name, "_bucket")}
			}
			s.labels.Range(func(l labels.Label) { names[name][l.Name] = true })
		}
	}
	return names
}

// requireKnown fails where an expression asks for a metric, or a label of it, that isn't scraped.
func requireKnown(t *testing.T, names map[string]map[string]bool, expr string) {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	require.NoError(t, err, expr)
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok {
			require.Contains(t, names, s.Name, expr)
			for _, m := range s.LabelMatchers {
				require.True(t, names[s.Name][m.Name], "%s has no label %s: %s", s.Name, m.Name, expr)
			}
		}
		return nil
	})
}

type target struct {
	Expr         string
	LegendFormat string
}

type panel struct {
	Title   string
	Type    string
	Targets []target
}

// TestDashboard: each expression of each panel is one, asks for what is scraped, and has a value where the service is used.
func TestDashboard(t *testing.T) {
	all := scraped(t)
	db := load(t, all, nil)
	names := known(all)
	raw, err := os.ReadFile("../grafana/dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels     []panel
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	require.NoError(t, json.Unmarshal(raw, &dashboard))
	variables := strings.NewReplacer("$__rate_interval", "1m", "$database", ".*", "$type", ".*")
	tried := 0
	for _, p := range dashboard.Panels {
		require.NotEmpty(t, p.Title)
		require.Equal(t, p.Type == "row", len(p.Targets) == 0, p.Title)
		for _, target := range p.Targets {
			expr := variables.Replace(target.Expr)
			require.NotContains(t, expr, "$", p.Title)
			requireKnown(t, names, expr)
			result := evaluate(t, db, expr)
			require.NotEmpty(t, result, "%s: %s", p.Title, expr)
			// The legend's labels are the result's.
			for _, m := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				require.True(t, result[0].Metric.Has(m[1]), "%s: the result of %s has no label %s", p.Title, expr, m[1])
			}
			tried++
		}
	}
	require.Greater(t, tried, 40)
	for _, v := range dashboard.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition)
		require.NotNil(t, m, v.Name)
		require.True(t, names[m[1]][m[2]], v.Definition)
	}
}

// set gives the series of a metric another value, in the scrape of that number.
func set(metric string, value func(scrape int) float64, matching ...string) change {
	return func(l labels.Labels, i int, old float64) float64 {
		if l.Get(labels.MetricName) != metric {
			return old
		}
		for n := 0; n < len(matching); n += 2 {
			if l.Get(matching[n]) != matching[n+1] {
				return old
			}
		}
		return value(i)
	}
}

func to(value float64) func(int) float64 { return func(int) float64 { return value } }
func by(each float64) func(int) float64  { return func(i int) float64 { return float64(i) * each } }

// syncs make all syncs of the WAL slow, or none.
func syncs(slow bool) change {
	return func(l labels.Labels, i int, old float64) float64 {
		if l.Get(labels.MetricName) != "asyncvfs_wal_sync_duration_seconds_bucket" {
			return old
		}
		if le, err := strconv.ParseFloat(l.Get("le"), 64); slow && err == nil && le < 0.6 {
			return 0
		}
		return float64(i)
	}
}

// alerts are, for each alert, what makes it fire and what doesn't, where that isn't so in what is scraped.
var alerts = map[string]struct{ fires, quiet change }{
	"AsyncVFSDatabaseFailed":     {fires: set("asyncvfs_database_failed", to(1))},
	"AsyncVFSLossWindowExceeded": {set("asyncvfs_commit_loss_window_max_seconds", to(1000)), set("asyncvfs_commit_loss_window_max_seconds", to(0.04))},
	"AsyncVFSNotDurable":         {set("asyncvfs_commit_pending_age_seconds", to(6)), set("asyncvfs_commit_pending_age_seconds", to(0.2))},
	"AsyncVFSSlowSyncs":          {syncs(true), syncs(false)},
	"AsyncVFSWALPastItsBound":    {fires: set("asyncvfs_wal_size_bytes", to(65<<20))},
	"AsyncVFSCheckpointsFail":    {fires: set("asyncvfs_checkpoint_failures_total", by(1))},
	"AsyncVFSStalls": {
		set("asyncvfs_commit_stall_duration_seconds_sum", by(300), "asyncvfs_stall_reason", "pending"),
		set("asyncvfs_commit_stall_duration_seconds_sum", by(0.1)),
	},
	"TasksOldestPending": {set("tasks_pending_age_seconds", to(301)), set("tasks_pending_age_seconds", to(3))},
	"TasksFail": {
		set("tasks_finished_total", by(2), "tasks_type", "document", "tasks_status", "completed"),
		set("tasks_finished_total", to(0), "tasks_status", "error"),
	},
	"TasksLeasesLost":    {set("tasks_leases_lost_total", by(3)), set("tasks_leases_lost_total", to(1))},
	"TasksHandlersStuck": {fires: set("tasks_handlers_stuck_total", by(1)), quiet: set("tasks_handlers_stuck_total", to(7))},
	"TasksTrouble":       {set("tasks_trouble_total", by(5)), set("tasks_trouble_total", to(1))},
}

// TestAlerts: each rule is one, asks for what is scraped, fires in the state that it is for, and not else.
func TestAlerts(t *testing.T) {
	all := scraped(t)
	names := known(all)
	groups, errs := rulefmt.ParseFile("../prometheus/alerts.yml", false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	require.Empty(t, errs)
	tried := map[string]bool{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			t.Run(r.Alert, func(t *testing.T) {
				requireKnown(t, names, r.Expr)
				require.NotEmpty(t, r.Labels["severity"])
				require.NotEmpty(t, r.Annotations["summary"])
				state, ok := alerts[r.Alert]
				require.True(t, ok, "nothing says when it fires")
				require.Empty(t, evaluate(t, load(t, all, state.quiet), r.Expr), "it fires where nothing is wrong")
				firing := evaluate(t, load(t, all, state.fires), r.Expr)
				require.NotEmpty(t, firing, "it doesn't fire")
				for _, text := range r.Annotations {
					for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(text, -1) {
						require.True(t, firing[0].Metric.Has(m[1]), "%s has no label %s", firing[0].Metric, m[1])
					}
				}
			})
			tried[r.Alert] = true
		}
	}
	require.Len(t, tried, len(alerts))
}
