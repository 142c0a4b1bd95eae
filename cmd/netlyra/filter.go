package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/net/bpf"

	"netlyra/internal/config"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
)

// programFilter is the packet filter of --filter or --filter-bpf: the kernel runs it for an interface, a virtual machine for a file.
type programFilter struct {
	raw []bpf.RawInstruction // nil: everything passes
}

func packetFilter(d *config.Detection) (*programFilter, error) {
	if d.FilterBPF == "" {
		return &programFilter{}, nil
	}
	raw, err := readBPF(d.FilterBPF)
	if err != nil {
		return nil, &config.UsageError{Err: err}
	}
	return &programFilter{raw}, nil
}

// readBPF reads what tcpdump -ddd prints: the number of instructions, then one a line, as four decimal numbers.
func readBPF(path string) ([]bpf.RawInstruction, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--filter-bpf: %w", err)
	}
	lines := strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
	if len(lines) < 2 {
		return nil, fmt.Errorf("--filter-bpf %s: not the output of tcpdump -ddd", path)
	}
	if n, err := strconv.Atoi(strings.TrimSpace(lines[0])); err != nil || n != len(lines)-1 {
		return nil, fmt.Errorf("--filter-bpf %s: the first line should be the number of instructions, %d", path, len(lines)-1)
	}
	program := make([]bpf.RawInstruction, 0, len(lines)-1)
	for i, line := range lines[1:] {
		var in bpf.RawInstruction
		if n, err := fmt.Sscanf(line, "%d %d %d %d", &in.Op, &in.Jt, &in.Jf, &in.K); err != nil || n != 4 {
			return nil, fmt.Errorf("--filter-bpf %s: line %d: %q is not an instruction of four numbers", path, i+2, line)
		}
		program = append(program, in)
	}
	return program, nil
}

func (f *programFilter) kernel(models.LinkType) ([]bpf.RawInstruction, error) { return f.raw, nil }

// apply puts the filter before a file's source.
func (f *programFilter) apply(src pipeline.Source) pipeline.Source {
	if f.raw == nil {
		return src
	}
	return &filtered{Source: src, filter: f}
}

// filtered passes on the frames that the filter accepts.
type filtered struct {
	pipeline.Source
	filter *programFilter
	vm     *bpf.VM
}

// Read reads on until there is a frame to pass on, or none to be had at the moment.
func (f *filtered) Read(b *models.Batch) error {
	if f.vm == nil {
		program, ok := bpf.Disassemble(f.filter.raw)
		if !ok {
			return errors.New("--filter-bpf: the program has an instruction that is not known")
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			return fmt.Errorf("--filter-bpf: %w", err)
		}
		f.vm = vm
	}
	err := f.Source.Read(b)
	kept := b.Frames[:0]
	for _, frame := range b.Frames {
		if n, err := f.vm.Run(frame.Data); err == nil && n > 0 {
			kept = append(kept, frame)
		}
	}
	b.Frames = kept
	return err
}
