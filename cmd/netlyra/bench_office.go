package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"netlyra/internal/bench"
	"netlyra/internal/config"
)

// benchOffice writes a capture and, beside it, its labels.
func (p *program) benchOffice(c *config.BenchOffice) (err error) {
	s, err := bench.Office(bench.OfficeOptions{
		Seed: c.Seed, Hosts: c.OfficeHosts, Duration: hours(c.Hours), Changing: c.Changing, PeerToPeer: c.PeerToPeer, Families: c.Families, Learn: time.Duration(c.Learn),
	})
	if err != nil {
		return &config.UsageError{Err: err}
	}
	pcap, err := os.Create(c.Output)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer func() { err = errors.Join(err, pcap.Close()) }()
	labels, err := os.Create(strings.TrimSuffix(c.Output, filepath.Ext(c.Output)) + ".labels.json")
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	defer func() { err = errors.Join(err, labels.Close()) }()
	packets, err := bench.WriteOffice(s, pcap, labels, filepath.Base(c.Output))
	if err != nil {
		return fmt.Errorf("%s: %w", c.Output, err)
	}
	_, err = fmt.Fprintf(p.stdout, "%s  %d packets\n", c.Output, packets)
	return err
}

func hours(h float64) time.Duration { return time.Duration(h * float64(time.Hour)) }

// benchDetect prints a table, or a line of JSON for each family; on standard error how far it is.
func (p *program) benchDetect(ctx context.Context, c *config.BenchDetect) error {
	rows, err := bench.Detect(ctx, bench.DetectOptions{
		Families: c.Families, Seed: c.Seed, Seeds: c.Seeds, Learn: time.Duration(c.Learn), Hosts: c.OfficeHosts, Budget: c.AlertBudget, Jobs: c.Jobs, Without: c.Without,
	}, func(i, of int) { _, _ = fmt.Fprintf(p.stderr, "\r%d of %d offices", i, of) })
	_, _ = fmt.Fprintln(p.stderr)
	if err != nil {
		return err
	}
	if c.Format == "text" {
		return bench.PrintDetect(p.stdout, rows)
	}
	for i := range rows {
		if err := json.NewEncoder(p.stdout).Encode(&rows[i]); err != nil {
			return err
		}
	}
	return nil
}

// benchBudget prints each office.
func (p *program) benchBudget(ctx context.Context, c *config.BenchBudget) error {
	for _, budget := range c.Budgets {
		for i := range c.Seeds {
			result, err := bench.Budget(ctx, bench.BudgetOptions{
				Seed: c.Seed + uint64(i), Duration: hours(c.Hours), Hosts: c.OfficeHosts, Changing: c.Changing, Budget: budget, Without: c.Without,
			})
			if err != nil {
				return err
			}
			if err := json.NewEncoder(p.stdout).Encode(result); err != nil {
				return err
			}
		}
	}
	return nil
}
