// Package pipeline is the packet path of a sensor: it reads sources, decodes, keeps connections, closes slots and merges them, and hands
// slots, connections, hosts and series on. It owns the goroutines of the packet path, their queues and the accounting.
//
//	source ─ worker: decode, entropy, flow, roll ─┐ one result a slot
//	source ─ worker ──────────────────────────────┴─ merger ─┬─ detector
//	                                                         └─ export: connections, hosts, series
//
// A live capture has one ring a worker. A file has one reader; with several workers it decodes and deals the packets out by
// connection. Nothing on the way of a packet is a channel operation, a lock or a log line: workers hand over once per slot of
// 40 ms. When the detector is behind, workers wait and the kernel's ring fills; when the export is behind, its results are
// dropped and counted. Times are capture time in microseconds.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"netlyra/internal/capture"
	"netlyra/internal/flow"
	"netlyra/internal/models"
)

// Source gives frames; package capture has three.
type Source interface {
	Read(b *models.Batch) error
	Stats() capture.Stats
	Close() error
}

// Records take slots and packets, to be written as records, before the detector takes the slot. They may block: workers then wait.
type Records struct {
	// Slots takes each slot. What it holds is valid until it returns.
	Slots func(ctx context.Context, s *models.SensorSlot) error
	// Packets takes each slot's packets as records, before Slots takes the slot. The records are the workers', in their order, each worker's in the
	// order of its packets; they are valid until it returns. It needs EncodePacket.
	Packets func(ctx context.Context, s *models.SensorSlot, records [][]byte) error
	// EncodePacket makes what a worker writes its packets with: it appends the record of a packet, whose texts are in arena, to dst.
	EncodePacket func() func(dst []byte, p *models.PacketMeta, arena []byte) []byte
}

// Outputs are where results go; nil ones are left out. Unless Options.Wait is set, all but Records must not block. Each is called from one goroutine.
type Outputs struct {
	Records
	// Connections takes what has happened by capture time now: connections that have changed or ended and, if Options.Live, those of
	// the others that move most. It is called once a second at least, in the order of capture time.
	Connections func(now int64, changed, moving []models.Connection)
	// Hosts takes what addresses have done since it was last called, by capture time now, about once a second.
	Hosts func(now int64, hs []models.Host)
	// Series takes the traffic of the seconds that have passed by capture time now. The slice is valid until it returns.
	Series func(now int64, ps []models.SeriesPoint)
	// Changed is called when Stats or the connections have changed, after each batch that held something.
	Changed func()
}

// Options configure a Pipeline.
type Options struct {
	Sensor     string
	SourceName string   // for Stats: the interfaces or the file
	Sources    []Source // live: one per worker; a file: one
	Workers    int      // a file's: 0 means 1. Several sources have a worker each
	Live       bool     // for a page: tell of the connections that move, and measure latency against the clock
	Wait       bool     // for the export, rather than drop its results: a file can wait, an interface cannot
	Flow       flow.Options
	Detector   Detector // nil: there is none in this process
	Outputs    Outputs
	Links      func() []models.Interface // nil: no interfaces
	Now        func() time.Time          // the wall clock; nil means time.Now
	// FileTime turns a source's times into those that its file has (capture.File); what comes out of the pipeline has the latter. nil: they
	// are the same.
	FileTime func(ts int64) int64
}

const (
	batchPackets   = 64      // decoded and looked up together: their cache misses overlap
	slotsInFlight  = 3       // results per worker between it and the merger
	recordsPerSlot = 4096    // connections that one worker reports per slot at most
	sweepSlots     = 125     // slots in which the whole table is gone over: 5 s
	movingPerSlot  = 256     // connections per worker and slot that whoever watches hears of
	exportQueue    = 64      // slot results between merger and export
	slotPackets    = 1 << 18 // in one slot; it is cut in two beyond (four times a gigabit of smallest frames)
	maxWorkers     = 64
)

// Pipeline runs the packet path of one sensor.
type Pipeline struct {
	options Options
	workers []*worker
	reader  *reader // deals a file out to several workers; nil: every worker reads its own source
	merger  *merger
	export  *export
	started time.Time

	generation atomic.Uint64
}

// New checks the options and allocates tables; it starts nothing.
func New(o Options) (*Pipeline, error) {
	if len(o.Sources) == 0 {
		return nil, errors.New("pipeline: no source")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FileTime == nil {
		o.FileTime = func(ts int64) int64 { return ts }
	}
	if (o.Outputs.Packets == nil) != (o.Outputs.EncodePacket == nil) {
		return nil, errors.New("pipeline: packets need an encoder, and an encoder somebody who takes them")
	}
	o.Workers = max(o.Workers, 1)
	if len(o.Sources) > 1 {
		o.Workers = len(o.Sources)
	}
	if o.Workers > maxWorkers {
		return nil, fmt.Errorf("pipeline: %d workers: at most %d", o.Workers, maxWorkers)
	}
	p := &Pipeline{started: o.Now()}
	p.generation.Store(1)
	notify := o.Outputs.Changed
	o.Outputs.Changed = func() {
		p.generation.Add(1)
		if notify != nil {
			notify()
		}
	}
	p.options = o
	for i := range o.Workers {
		w, err := newWorker(o, i)
		if err != nil {
			return nil, err
		}
		p.workers = append(p.workers, w)
	}
	if o.Workers > len(o.Sources) {
		p.reader = newReader(o.Sources[0], p.workers)
	}
	p.export = newExport(o)
	p.merger = newMerger(o, p)
	return p, nil
}

// Run reads the sources to their end, or until ctx ends: then it takes what they have, lets every stage finish, and returns nil.
// A damaged file comes back as *capture.DamageError, after everything before the damage has been judged.
func (p *Pipeline) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, p.close)
	defer stop()
	// One source that fails ends the others: half of the traffic would be a lie.
	failed := func(err error) error {
		if err != nil {
			p.close()
		}
		return err
	}
	var packetPath, later sync.WaitGroup
	errs := make([]error, len(p.workers)+1)
	if p.reader != nil {
		packetPath.Go(func() { errs[len(p.workers)] = failed(p.reader.run()) })
	}
	for i, w := range p.workers {
		packetPath.Go(func() {
			defer close(w.out)
			defer close(w.ended)
			if p.reader != nil {
				w.chunks()
			} else {
				errs[i] = failed(w.read(p.options.Sources[i]))
			}
		})
	}
	// What is under way when ctx ends is still judged and handed on.
	rest := context.WithoutCancel(ctx)
	var merged error
	later.Go(func() {
		defer close(p.export.in)
		merged = failed(p.merger.run(rest, func() bool { return ctx.Err() != nil }))
	})
	later.Go(p.export.run)
	packetPath.Wait()
	later.Wait()
	return errors.Join(append(errs, merged)...)
}

// close ends the sources; what they have is still read.
func (p *Pipeline) close() {
	for _, s := range p.options.Sources {
		_ = s.Close()
	}
}

// endOfSource turns the end that a source reports into what Run returns: none.
func endOfSource(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
