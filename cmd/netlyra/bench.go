package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"netlyra/internal/bench"
	"netlyra/internal/config"
)

// bench makes traffic and measures.
func (p *program) bench(ctx context.Context, which string, c *config.Bench) error {
	switch which {
	case "synth":
		return p.benchSynth(&c.Synth)
	case "replay <file>":
		result, err := bench.Replay(ctx, bench.ReplayOptions{
			Path: c.Replay.File, Stages: c.Replay.Stages, Workers: c.Replay.Workers, CPUProfile: c.Replay.CPUProfile,
		})
		if err != nil {
			return err
		}
		return json.NewEncoder(p.stdout).Encode(result)
	case "office":
		return p.benchOffice(&c.Office)
	case "detect":
		return p.benchDetect(ctx, &c.Detect)
	case "budget":
		return p.benchBudget(ctx, &c.Budget)
	case "trees <dir>":
		return p.benchTrees(ctx, &c.Trees)
	case "live":
		return p.benchLive(ctx, &c.Live)
	case "latency":
		return p.benchLatency(ctx, &c.Latency)
	case "send <interface>":
		result, err := bench.Send(ctx, bench.SendOptions{
			Interface: c.Send.Interface, Rate: c.Send.Rate, Duration: time.Duration(c.Send.Seconds) * time.Second,
		})
		if err != nil {
			return err
		}
		return json.NewEncoder(p.stdout).Encode(result)
	}
	return fmt.Errorf("bench %s: no such benchmark", which)
}

// benchTrees prints a table with a line for each data set, as each is done.
func (p *program) benchTrees(ctx context.Context, c *config.BenchTrees) error {
	paths, err := filepath.Glob(filepath.Join(c.Dir, "*.csv.gz"))
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return fmt.Errorf("%s: no table there: *.csv.gz, the last column anomaly, is what is read", c.Dir)
	}
	if _, err := fmt.Fprintf(p.stdout, "%-12s %8s %9s %9s %7s %7s %10s %7s %7s %8s %8s\n",
		"AUC", "rows", "anomalies", "surprise", "(least)", "raw", "no guard:", "raw", "River", "refused", "released"); err != nil {
		return err
	}
	for _, path := range paths {
		r, err := bench.Trees(ctx, bench.TreesOptions{Path: path, Seeds: c.TreesSeeds})
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(p.stdout, "%-12s %8d %9d %9.4f %7.4f %7.4f %10.4f %7.4f %7.4f %7.1f%% %8.1f\n",
			r.Table, r.Rows, r.Anomalies, r.Surprise, r.Least, r.Raw, r.Unguarded, r.UnguardedRaw, r.River, 100*r.Refused, r.Released); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(p.stdout, "\nmeans of %d seeds, rows in their order, the first window not scored\n", c.TreesSeeds)
	return err
}

// benchLive prints each run, and on standard error how many lost nothing.
func (p *program) benchLive(ctx context.Context, c *config.BenchLive) error {
	rate := 0
	if c.Rate != "max" {
		n, err := strconv.Atoi(c.Rate)
		if err != nil || n < 1 {
			return &config.UsageError{Err: fmt.Errorf("--rate %q: give packets per second, or max", c.Rate)}
		}
		rate = n
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	lossless := 0
	for i := range c.Runs {
		o := bench.LiveOptions{Rate: rate, Duration: time.Duration(c.Seconds) * time.Second, Program: []string{self, "bench", "send"}}
		if i == c.Runs-1 {
			o.CPUProfile = c.CPUProfile
		}
		result, err := bench.Live(ctx, o)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(p.stdout).Encode(result); err != nil {
			return err
		}
		if result.Lossless {
			lossless++
		}
	}
	_, err = fmt.Fprintf(p.stderr, "%d of %d runs lost nothing\n", lossless, c.Runs)
	return err
}

// benchLatency prints each rate.
func (p *program) benchLatency(ctx context.Context, c *config.BenchLatency) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, rate := range c.Rates {
		if err := p.latencyAt(ctx, rate, c.Seconds, self); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) latencyAt(ctx context.Context, rate, seconds int, self string) (err error) {
	dir, err := os.MkdirTemp("", "netlyra-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	result, err := bench.Latency(ctx, bench.LatencyOptions{
		Rate: rate, Duration: time.Duration(seconds) * time.Second, Program: []string{self, "run"}, Dir: dir,
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(p.stdout).Encode(result)
}

func (p *program) benchSynth(c *config.BenchSynth) (err error) {
	size, err := config.ParseSize(c.Size)
	if err != nil {
		return &config.UsageError{Err: fmt.Errorf("--size: %w", err)}
	}
	f, err := os.Create(c.Output)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	packets, err := bench.Synth(io.MultiWriter(f, sum), bench.SynthOptions{Bytes: size, Seed: c.Seed, Profile: c.Profile})
	if err != nil {
		return fmt.Errorf("%s: %w", c.Output, err)
	}
	_, err = fmt.Fprintf(p.stdout, "%s  %s  %d packets\n", hex.EncodeToString(sum.Sum(nil)), c.Output, packets)
	return err
}
