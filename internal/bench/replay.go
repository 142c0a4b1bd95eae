package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"syscall"
	"time"

	"netlyra/internal/capture"
	"netlyra/internal/decode"
	"netlyra/internal/detect"
	"netlyra/internal/flow"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
)

// Stages are what Replay can be told to do, each with all before it; "full" is the pipeline as `analyze` runs it, "pipeline"
// that without the detector, "naive" the work of "full" as one writes it first.
func Stages() []string {
	return []string{"read", "decode", "entropy", "flow", "pipeline", "full", "naive"}
}

// ReplayOptions say what is measured.
type ReplayOptions struct {
	Path    string
	Stages  string // one of Stages
	Workers int    // of "pipeline" and "full"

	CPUProfile string // file for a profile; empty: none
}

// Result is one measurement.
type Result struct {
	Stages      string  `json:"stages"`
	Packets     uint64  `json:"packets"`
	Bytes       uint64  `json:"bytes"` // on the wire
	Connections uint64  `json:"connections"`
	Alerts      uint64  `json:"alerts"`
	WallSeconds float64 `json:"wall_seconds"`
	CPUSeconds  float64 `json:"cpu_seconds"`
	CPUNanos    float64 `json:"cpu_ns_per_packet"`
	Mpps        float64 `json:"mpps"`
	Gbps        float64 `json:"gbps"`
	MaxRSSBytes int64   `json:"max_rss_bytes"`
	Mallocs     uint64  `json:"mallocs"`
}

// Replay reads a capture as fast as it can and does with each packet what Stages says.
func Replay(ctx context.Context, o ReplayOptions) (Result, error) {
	if !slices.Contains(Stages(), o.Stages) {
		return Result{}, fmt.Errorf("bench: stages %q: %v exist", o.Stages, Stages())
	}
	if _, err := os.Stat(o.Path); err != nil {
		return Result{}, fmt.Errorf("bench: %w", err)
	}
	stopProfile, err := profile(o.CPUProfile)
	if err != nil {
		return Result{}, err
	}
	r, err := measure(ctx, o)
	return r, errors.Join(err, stopProfile())
}

// measure runs the stages.
func measure(ctx context.Context, o ReplayOptions) (Result, error) {
	r := Result{Stages: o.Stages}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, started := cpuTime(), time.Now()
	var err error
	switch o.Stages {
	case "pipeline", "full":
		err = r.full(ctx, o)
	case "naive":
		err = r.naive(o.Path)
	default:
		err = r.staged(o)
	}
	if err != nil {
		return r, err
	}
	r.WallSeconds, r.CPUSeconds = time.Since(started).Seconds(), (cpuTime() - cpu).Seconds()
	runtime.ReadMemStats(&after)
	r.Mallocs = after.Mallocs - before.Mallocs
	r.CPUNanos = r.CPUSeconds * 1e9 / float64(max(r.Packets, 1))
	r.Mpps = float64(r.Packets) / r.WallSeconds / 1e6
	r.Gbps = float64(r.Bytes) * 8 / r.WallSeconds / 1e9
	r.MaxRSSBytes = maxRSS()
	return r, nil
}

// full is the pipeline as `analyze` runs it, with or without the detector.
func (r *Result) full(ctx context.Context, o ReplayOptions) error {
	src, err := capture.OpenFile(o.Path, capture.FileOptions{})
	if err != nil {
		return err
	}
	full := pipeline.Options{Sensor: "bench", Sources: []pipeline.Source{src}, Workers: o.Workers, Flow: flow.Options{Seed: 1}}
	if o.Stages != "pipeline" {
		full.Detector, err = newDetector(detect.Options{Seed: 1}, func(a *models.Alert) {
			if a.Rev == 1 {
				r.Alerts++
			}
		})
		if err != nil {
			return err
		}
	}
	p, err := pipeline.New(full)
	if err != nil {
		return err
	}
	if err := p.Run(ctx); err != nil {
		return err
	}
	s := p.Stats()
	r.Packets, r.Bytes, r.Connections = s.Packets, s.Bytes, s.Connections.Opened
	return src.Close()
}

// staged does a part of the work of one worker, without slots.
func (r *Result) staged(o ReplayOptions) error {
	src, err := capture.OpenFile(o.Path, capture.FileOptions{})
	if err != nil {
		return err
	}
	table, err := flow.New(flow.Options{Seed: 1})
	if err != nil {
		return err
	}
	var (
		level = slices.Index(Stages(), o.Stages)
		d     decode.Decoder
		b     models.Batch
		ps    [64]models.Packet
		slot  int64
	)
	for {
		err := src.Read(&b)
		r.Packets += uint64(len(b.Frames))
		for i := 0; level > 0 && i < len(b.Frames); i += len(ps) {
			n := 0
			for j := i; j < min(i+len(ps), len(b.Frames)); j++ {
				if d.Frame(&b.Frames[j], &ps[n]) == decode.OK {
					n++
				}
			}
			if level >= 2 {
				for k := range ps[:n] {
					ps[k].Entropy = d.Entropy(ps[k].Payload)
				}
			}
			if level >= 3 && n > 0 {
				if s := models.Slot(ps[0].TS); s != slot {
					slot = s
					table.OpenSlot(s)
				}
				table.Update(ps[:n], nil)
			}
			d.Reset()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	r.Bytes, r.Connections = src.Stats().Bytes, table.Counters().Opened
	return src.Close()
}

// cpuTime is what this process has used in user and kernel mode.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func maxRSS() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Maxrss * 1024
}

// profile starts a CPU profile into a file; what it returns ends it.
func profile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("bench: %w", err), f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
