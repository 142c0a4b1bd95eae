package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"netlyra/internal/models"
)

// BenchmarkConnections flushes 2,000 connections at a time, all new or all known, each flush durable.
func BenchmarkConnections(b *testing.B) {
	for _, known := range []bool{false, true} {
		b.Run(fmt.Sprintf("known=%v", known), func(b *testing.B) {
			s, err := New(b.Context(), Options{Path: b.TempDir() + "/x.db"})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			w := &writer{Store: s, batch: &rowBatch{}}
			id := int64(0)
			rows := 0
			for b.Loop() {
				cs := make([]models.Connection, flushRows)
				for i := range cs {
					cs[i] = testConnection(id + int64(i))
				}
				if !known {
					id += flushRows
				}
				s.OfferConnections(cs)
				if _, err := w.flush(b.Context()); err != nil {
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
