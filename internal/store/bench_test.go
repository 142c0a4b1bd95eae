package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"netlyra/internal/models"
)

// BenchmarkConnections flushes 2,000 connections at a time, each flush durable, with the blocks that are due in between as in Run: new ones, ones
// that are known, and ones that are in blocks already.
func BenchmarkConnections(b *testing.B) {
	const old = 40_000
	for _, kind := range []string{"new", "known", "in blocks"} {
		b.Run(kind, func(b *testing.B) {
			s, err := New(b.Context(), Options{Path: b.TempDir() + "/x.db"})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			w := newWriter(s)
			if kind == "in blocks" {
				fillRows(b, w, old, 0)
			}
			first, rows := 0, 0
			for b.Loop() {
				b.StopTimer()
				cs := make([]models.Connection, flushRows)
				for i := range cs {
					cs[i] = makeConnection(first + i)
				}
				s.queue.sampleConnections = newSample[int64]()
				b.StartTimer()
				switch kind {
				case "new":
					first += flushRows
				case "in blocks":
					first = (first + flushRows) % (old / 2)
				}
				s.OfferConnections(cs)
				if _, err := w.flush(b.Context()); err != nil {
					b.Fatal(err)
				}
				if _, err := w.blocksStep(b.Context()); err != nil {
					b.Fatal(err)
				}
				rows += flushRows
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkSaveAlert is one caller that waits for each commit, and many that share them.
func BenchmarkSaveAlert(b *testing.B) {
	s, err := New(b.Context(), Options{Path: b.TempDir() + "/x.db"})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			b.Error(err)
		}
	}()
	var n atomic.Int64
	save := func(b *testing.B) {
		if err := s.SaveAlert(ctx, testAlert(fmt.Sprint("a", n.Add(1)), models.Micros(n.Load()))); err != nil {
			b.Error(err)
		}
	}
	b.Run("one caller", func(b *testing.B) {
		for b.Loop() {
			save(b)
		}
	})
	b.Run("64 callers", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				save(b)
			}
		})
	})
}

// BenchmarkFilters answers every filter, common and rare, pairs of them and each order, of NETLYRA_BENCH_ROWS connections or alerts (50,000
// unless set). NETLYRA_BENCH_TABLE=alerts, connections asks one list alone. It prints the median and the 99th percentile of each:
//
//	NETLYRA_BENCH_ROWS=1000000 go test ./internal/store -run '^$' -bench Filters -benchtime 100x -timeout 1h
func BenchmarkFilters(b *testing.B) {
	n := 50_000
	if v := os.Getenv("NETLYRA_BENCH_ROWS"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			b.Fatal(err)
		}
	}
	if only := os.Getenv("NETLYRA_BENCH_TABLE"); only != "alerts" {
		b.Run("connections", func(b *testing.B) {
			s := filled(b, n, 0)
			for _, a := range connectionAsks(n) {
				b.Run(a.name, func(b *testing.B) { timePages(b, a.query, s.Connections) })
			}
		})
	}
	if only := os.Getenv("NETLYRA_BENCH_TABLE"); only != "connections" {
		b.Run("alerts", func(b *testing.B) {
			s := filled(b, 0, n)
			for _, a := range alertAsks(n) {
				b.Run(a.name, func(b *testing.B) { timePages(b, a.query, s.Alerts) })
			}
		})
	}
}

// timePages asks again and again.
func timePages[Q, T any](b *testing.B, q Q, ask func(context.Context, Q) (models.Page[T], error)) {
	var took []time.Duration
	rows := 0
	before := cpuTime(b)
	for b.Loop() {
		start := time.Now()
		p, err := ask(b.Context(), q)
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
		rows = len(p.Items)
	}
	slices.Sort(took)
	part := func(p float64) float64 {
		return float64(took[min(len(took)-1, int(p*float64(len(took))))].Microseconds()) / 1000
	}
	b.ReportMetric(0, "ns/op") // not printed: the percentiles say more
	b.ReportMetric(part(0.5), "p50-ms")
	b.ReportMetric(part(0.99), "p99-ms")
	b.ReportMetric((cpuTime(b)-before).Seconds()*1000/float64(len(took)), "cpu-ms")
	b.ReportMetric(float64(rows), "rows")
}

// cpuTime is what this process has used, which other programs disturb less than the clock.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// filled makes a database of so many connections and alerts, and says how large it is.
func filled(b *testing.B, connections, alerts int) *Store {
	b.Helper()
	s, err := New(b.Context(), Options{Path: b.TempDir() + "/x.db", MaxBytes: 1 << 40, QueryTimeout: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	w := newWriter(s)
	fillRows(b, w, connections, alerts)
	used, err := usedBytes(b.Context(), s.write)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d connections, %d alerts: %.1f bytes each", connections, alerts, float64(used)/float64(connections+alerts))
	return s
}
