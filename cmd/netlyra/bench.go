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

	"netlyra/internal/bench"
	"netlyra/internal/config"
)

// bench makes traffic and measures.
func (p *program) bench(ctx context.Context, which string, c *config.Bench) error {
	switch which {
	case "synth":
		return p.benchSynth(&c.Synth)
	case "replay <file>":
		result, err := bench.Replay(ctx, bench.ReplayOptions{Path: c.Replay.File, Stages: c.Replay.Stages, Workers: c.Replay.Workers})
		if err != nil {
			return err
		}
		return json.NewEncoder(p.stdout).Encode(result)
	}
	return fmt.Errorf("bench %s: no such benchmark", which)
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
