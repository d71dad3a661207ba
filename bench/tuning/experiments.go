package main

import (
	"fmt"

	"github.com/docusnap/asyncvfs/bench"
	"github.com/docusnap/asyncvfs/vfs"
)

// An experiment is a table of the page.
type experiment struct {
	name     string
	labels   []string // headings of the columns that say what was set
	columns  []column
	settings []setting
}

// A setting is a row of the table.
type setting struct {
	labels   []string
	group    string // settings are beside the first one of their group that is a base
	base     bool
	workload bench.Workload
	setup    bench.Setup
	options  []vfs.DSNOption
	read     bool // transactions read first: see readThenWrite
	begin    string
}

// outcome is what a run came to.
type outcome struct {
	bench.Result
	Repeated int // transactions that had to be begun again
}

func experiments() []experiment {
	return []experiment{maxDelay(), connections(), begin(), pageSize(), sizeLimit(), autoCheckpoint(), checkpoint(), cacheSize()}
}

func inserts(conns int) bench.Workload {
	return bench.Workload{Kind: bench.Insert, Rows: 1, Size: 100, Conns: conns}
}

func updates(conns int) bench.Workload {
	return bench.Workload{Kind: bench.Update, Rows: 1, Size: 100, Conns: conns}
}

func on(disk, level string) bench.Setup { return bench.Setup{Name: "async", Disk: disk, Level: level} }

// maxDelay: one connection at NORMAL.
func maxDelay() experiment {
	e := experiment{name: "max_delay", labels: []string{"disk", "`max_delay`"}, columns: []column{timesRate, window, perSync}}
	for _, disk := range bench.Disks {
		for _, delay := range []string{"5ms", "50ms", "500ms"} {
			e.settings = append(e.settings, setting{labels: []string{disk, delay}, group: disk, base: delay == "50ms",
				workload: inserts(1), setup: on(disk, "normal"), options: []vfs.DSNOption{vfs.Parameter("max_delay", delay)}})
		}
	}
	return e
}

// connections: how many it takes at FULL until they share syncs.
func connections() experiment {
	e := experiment{name: "connections", labels: []string{"disk", "connections"}, columns: []column{timesRate, perSync, slowest}}
	for _, disk := range []string{"real", "sync+1ms"} {
		for _, n := range []int{1, 2, 4, 8, 16, 32, 64, 128} {
			e.settings = append(e.settings, setting{labels: []string{disk, fmt.Sprint(n)}, group: disk, base: n == 1,
				workload: inserts(n), setup: on(disk, "full")})
		}
	}
	return e
}

// begin: transactions that read a row and then change it.
func begin() experiment {
	e := experiment{name: "begin", labels: []string{"transaction"}, columns: []column{timesRate, slowest, repeated}}
	for _, sql := range []string{"BEGIN IMMEDIATE", "BEGIN"} {
		e.settings = append(e.settings, setting{labels: []string{"`" + sql + "`"}, base: sql == "BEGIN IMMEDIATE",
			workload: updates(8), setup: on("real", "full"), read: true, begin: sql})
	}
	return e
}

func pageSize() experiment {
	e := experiment{name: "page_size", labels: []string{"workload", "`page_size`"}, columns: []column{timesRate, slowest}}
	for _, w := range []struct {
		name  string
		setup bench.Setup
		bench.Workload
	}{
		{"inserts of 100 bytes at FULL, 8 connections", on("real", "full"), inserts(8)},
		{"updates of 100 bytes at NORMAL, 1 connection", on("real", "normal"), updates(1)},
		{"inserts of 8 KiB at FULL, 8 connections", on("real", "full"), bench.Workload{Kind: bench.Insert, Rows: 1, Size: 8192, Conns: 8}},
	} {
		for _, size := range []string{"1024", "4096", "8192", "16384"} {
			e.settings = append(e.settings, setting{labels: []string{w.name, size}, group: w.name, base: size == "4096",
				workload: w.Workload, setup: w.setup, options: []vfs.DSNOption{vfs.Pragma("page_size", size)}})
		}
	}
	return e
}

// walWorkloads are those that the settings of the WAL are measured with.
var walWorkloads = []struct {
	name  string
	setup bench.Setup
	bench.Workload
}{
	{"inserts at FULL, 8 connections", on("real", "full"), inserts(8)},
	{"updates at NORMAL, 1 connection", on("real", "normal"), updates(1)},
}

func sizeLimit() experiment {
	e := experiment{name: "journal_size_limit", labels: []string{"workload", "`journal_size_limit`"}, columns: []column{timesRate, slowest}}
	for _, w := range walWorkloads {
		for _, limit := range []string{"-1", "0"} {
			e.settings = append(e.settings, setting{labels: []string{w.name, limit}, group: w.name, base: limit == "-1",
				workload: w.Workload, setup: w.setup, options: []vfs.DSNOption{vfs.Pragma("journal_size_limit", limit)}})
		}
	}
	return e
}

func autoCheckpoint() experiment {
	e := experiment{name: "wal_autocheckpoint", labels: []string{"workload", "`wal_autocheckpoint`"}, columns: []column{timesRate, slowest, walSize}}
	for _, w := range walWorkloads {
		for _, pages := range []string{"250", "1000", "4000"} {
			e.settings = append(e.settings, setting{labels: []string{w.name, pages}, group: w.name, base: pages == "1000",
				workload: w.Workload, setup: w.setup, options: []vfs.DSNOption{vfs.Pragma("wal_autocheckpoint", pages)}})
		}
	}
	return e
}

func checkpoint() experiment {
	e := experiment{name: "checkpoint", labels: []string{"workload", "`checkpoint`"}, columns: []column{timesRate, slowest, walSize}}
	for _, w := range walWorkloads {
		for _, how := range []string{"background", "inline"} {
			e.settings = append(e.settings, setting{labels: []string{w.name, how}, group: w.name, base: how == "background",
				workload: w.Workload, setup: w.setup, options: []vfs.DSNOption{vfs.Parameter("checkpoint", how)}})
		}
	}
	return e
}

// cacheSize: a table of 6 MiB, more than the default cache holds.
func cacheSize() experiment {
	e := experiment{name: "cache_size", labels: []string{"workload", "`cache_size`"}, columns: []column{timesRate, slowest}}
	for _, w := range []struct {
		name string
		bench.Workload
	}{
		{"reads of rows, 1 connection", bench.Workload{Kind: bench.Read, Rows: 1, Size: 100, Conns: 1}},
		{"updates at NORMAL, 1 connection", updates(1)},
		{"updates at NORMAL, 8 connections", updates(8)},
	} {
		for _, size := range []string{"-2000", "-16000"} {
			e.settings = append(e.settings, setting{labels: []string{w.name, size}, group: w.name, base: size == "-2000",
				workload: w.Workload, setup: on("real", "normal"), options: []vfs.DSNOption{vfs.Pragma("cache_size", size)}})
		}
	}
	return e
}
