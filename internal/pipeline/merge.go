package pipeline

import (
	"context"
	"errors"
	"sync/atomic"

	"netlyra/internal/flow"
	"netlyra/internal/models"
)

// Detector is what judges slots in this process. Slot, IncidentOf and Close are called from one goroutine.
type Detector interface {
	// Roll makes what a worker fills with its part of a slot, before the slot is handed on. It is called before the first slot.
	Roll() models.Roll
	// Slot takes the next slot. What it holds is valid until it returns.
	Slot(ctx context.Context, s *models.SensorSlot) error
	// IncidentOf names the open incident that a connection belongs to, and its score; "" for none. completed: it has got through.
	IncidentOf(orig, resp models.Addr, respPort uint16, proto models.Proto, completed bool) (id string, score float64)
	// Close says that there are no more slots. interrupted: the program was asked to end, and may go on with the next run.
	Close(ctx context.Context, interrupted bool) error
}

// merger puts the workers' results together slot by slot, hands each slot to the detector, and its results to the export.
type merger struct {
	detector Detector // nil: there is none here
	workers  []*worker
	losses   func() (received, lost uint64)
	outputs  Outputs
	export   *export
	heads    []*slotResult // per worker: its oldest result; nil: it has ended
	done     []*slotResult // of the slot that is handed on, and the workers they are from
	from     []int
	parts    []models.SlotPart // scratch
	packets  [][]byte          // scratch
	rates    rates
	lost     uint64       // packets, up to the slot before
	reached  atomic.Int64 // end of that slot, capture time
}

func newMerger(o Options, p *Pipeline) *merger {
	return &merger{detector: o.Detector, workers: p.workers, losses: p.losses, outputs: o.Outputs, export: p.export, heads: make([]*slotResult, len(p.workers))}
}

// run goes on until every worker has ended.
func (m *merger) run(ctx context.Context, interrupted func() bool) error {
	var failed error
	for i, w := range m.workers {
		m.heads[i] = <-w.out
	}
	for {
		slot, any := m.next()
		if !any {
			break
		}
		if err := m.slot(ctx, slot); err != nil && failed == nil {
			failed = err
		}
	}
	if m.detector != nil {
		if err := m.detector.Close(ctx, interrupted()); err != nil && failed == nil {
			failed = err
		}
	}
	m.rates.public.Store(&models.Volume{}) // nothing moves any more
	return failed
}

// next is the earliest slot that a worker has closed. All workers have one waiting: on an idle link, too, each closes its slots.
func (m *merger) next() (slot int64, any bool) {
	var first *slotResult
	for _, h := range m.heads {
		if h != nil && (first == nil || h.earlier(first)) {
			first = h
		}
	}
	if first == nil {
		return 0, false
	}
	return first.slot, true
}

// earlier orders slots by time. Where the clock was set back, and times are far apart, the worker that has seen it less often is
// still in the time before. (Near each other they are in the same time, whatever an idle worker has missed.)
func (r *slotResult) earlier(o *slotResult) bool {
	if apart := r.slot - o.slot; r.epoch != o.epoch && (apart > models.SetBackSlots || apart < -models.SetBackSlots) {
		return r.epoch < o.epoch
	}
	return r.slot < o.slot
}

func (m *merger) slot(ctx context.Context, slot int64) error {
	done, from := m.done[:0], m.from[:0]
	s := models.SensorSlot{N: slot, Parts: m.parts[:0]}
	for i, h := range m.heads {
		if h == nil || h.slot != slot {
			continue
		}
		done, from = append(done, h), append(from, i)
		s.Epoch = max(s.Epoch, uint64(h.epoch))
		s.Parts = append(s.Parts, h.part)
	}
	m.done, m.from, m.parts = done, from, s.Parts
	s.Received, s.Lost = m.losses()
	var err error
	if m.outputs.Packets != nil {
		m.packets = m.packets[:0]
		for _, d := range done {
			m.packets = append(m.packets, d.packets)
		}
		err = m.outputs.Packets(ctx, &s, m.packets)
	}
	if m.outputs.Slots != nil {
		err = errors.Join(err, m.outputs.Slots(ctx, &s))
	}
	if m.detector != nil {
		err = errors.Join(err, m.detector.Slot(ctx, &s))
		m.attribute(done)
	}
	m.reached.Store((slot + 1) * models.SlotMicros)
	m.rates.add(slot, done)
	m.export.offer(done, s.Lost-m.lost)
	m.lost = s.Lost
	for k, i := range from {
		m.workers[i].free <- done[k]
		m.heads[i] = <-m.workers[i].out
	}
	return err
}

// attribute notes which incidents the connections that go to the export belong to.
func (m *merger) attribute(done []*slotResult) {
	for _, d := range done {
		for _, records := range [][]flow.Record{d.records, d.active} {
			for i := range records {
				r := &records[i]
				r.Incident, r.Score = m.detector.IncidentOf(r.Orig, r.Resp, r.RespPort, r.Proto, r.Completed())
			}
		}
	}
}

// rates is the traffic of the last second of capture time.
type rates struct {
	slots  [rateSlots]rateSlot
	at     int
	public atomic.Pointer[models.Volume]
}

const rateSlots = 1_000_000 / models.SlotMicros

type rateSlot struct {
	slot   int64
	volume models.Volume
}

func (r *rates) add(slot int64, done []*slotResult) {
	if r.slots[r.at].slot != slot {
		r.at = (r.at + 1) % rateSlots
		r.slots[r.at] = rateSlot{slot: slot}
	}
	for _, d := range done {
		t := d.volume.total()
		r.slots[r.at].volume.Packets += t.Packets
		r.slots[r.at].volume.Bytes += t.Bytes
	}
	var sum models.Volume
	for _, s := range r.slots {
		if s.slot > slot-rateSlots && s.slot <= slot {
			sum.Packets += s.volume.Packets
			sum.Bytes += s.volume.Bytes
		}
	}
	r.public.Store(&sum)
}
