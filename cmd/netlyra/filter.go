package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/net/bpf"

	"netlyra/internal/capture/filter"
	"netlyra/internal/config"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
)

// packetFilter is what --filter or --filter-bpf asks for: the kernel does it for an interface, filter.Source for a file.
type packetFilter struct {
	expr *filter.Expr
	raw  []bpf.RawInstruction // of --filter-bpf; expr is nil then. With neither, everything passes.
}

func newPacketFilter(d *config.Detection) (*packetFilter, error) {
	var p packetFilter
	var err error
	switch {
	case d.Filter != "":
		if p.expr, err = filter.Parse(d.Filter); err != nil {
			err = fmt.Errorf("--filter: %w", err)
		}
	case d.FilterBPF != "":
		if p.raw, err = readProgram(d.FilterBPF); err != nil {
			err = fmt.Errorf("--filter-bpf %s: %w", d.FilterBPF, err)
		}
	}
	if err != nil {
		return nil, &config.UsageError{Err: err}
	}
	return &p, nil
}

func readProgram(path string) ([]bpf.RawInstruction, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	program, err := filter.ReadProgram(file)
	return program, errors.Join(err, file.Close())
}

// kernel is the program for an interface.
func (p *packetFilter) kernel(link models.LinkType) ([]bpf.RawInstruction, error) {
	return p.program(link, filter.Options{Live: true})
}

func (p *packetFilter) program(link models.LinkType, o filter.Options) ([]bpf.RawInstruction, error) {
	if p.expr == nil {
		return p.raw, nil
	}
	return p.expr.Compile(link, o)
}

// apply puts the filter before a file.
func (p *packetFilter) apply(src pipeline.Source) (pipeline.Source, error) {
	switch {
	case p.raw != nil:
		if _, err := filter.NewMatcher(p.raw); err != nil {
			return nil, &config.UsageError{Err: fmt.Errorf("--filter-bpf: %w", err)}
		}
	case p.expr == nil:
		return src, nil
	}
	return filter.NewSource(src, func(link models.LinkType) ([]bpf.RawInstruction, error) {
		return p.program(link, filter.Options{})
	}), nil
}
