package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync/atomic"

	"netlyra/internal/detect"
	"netlyra/internal/flow"
	"netlyra/internal/models"
)

// judge merges the workers' results slot by slot, lets the detector decide, and hands on what comes out of it.
type judge struct {
	detector *detect.Judge // nil: off
	workers  []*worker
	losses   func() (received, lost uint64)
	outputs  Outputs
	export   *export
	saver    *saver  // nil: nothing is kept
	clock    latency // packet stamp to alert
	live     bool
	fileTime func(int64) int64
	heads    []*slotResult // per worker: its oldest result; nil: it has ended
	parts    []*detect.Accumulator
	done     []*slotResult // of the slot under judgement, and the workers they are from
	from     []int
	passed   []models.SlotPart // scratch
	public   atomic.Pointer[models.DetectorStats]
	rates    rates
	raised   atomic.Uint64
	lastStat int64
	lost     uint64       // packets, up to the slot judged last
	last     int64        // slot judged last
	reached  atomic.Int64 // its end, capture time
}

func newJudge(o Options, p *Pipeline) (*judge, error) {
	j := &judge{last: math.MinInt64 / 2, workers: p.workers, losses: p.losses, outputs: o.Outputs, export: p.export, live: o.Live, fileTime: o.FileTime, heads: make([]*slotResult, len(p.workers))}
	j.clock.now = o.Now
	if o.DetectorOff {
		return j, nil
	}
	d, err := detect.NewJudge(o.Detect)
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	if j.saver = newSaver(o); j.saver != nil {
		if err := o.Memory.Restore(d.LoadState); err != nil {
			return nil, err
		}
	}
	j.detector = d
	s := d.Stats()
	j.public.Store(&s)
	return j, nil
}

// run judges until every worker has ended. If the program is to go on later, incidents stay open for it.
func (j *judge) run(ctx context.Context, goesOn func() bool) error {
	var failed error
	for i, w := range j.workers {
		j.heads[i] = <-w.out
	}
	for {
		slot, any := j.next()
		if !any {
			break
		}
		if err := j.slot(ctx, slot); err != nil && failed == nil {
			failed = err
		}
	}
	if err := j.finish(ctx, goesOn()); err != nil && failed == nil {
		failed = err
	}
	j.rates.public.Store(&models.Volume{}) // nothing moves any more
	return failed
}

// finish closes what is open, unless it goes on, and saves what is known.
func (j *judge) finish(ctx context.Context, goesOn bool) (err error) {
	if j.detector == nil {
		return nil
	}
	if j.saver == nil || !goesOn {
		err = j.alerts(ctx, j.detector.Finish())
	} else {
		err = j.alerts(ctx, j.detector.Rest())
	}
	j.publish()
	if j.saver != nil {
		j.saver.finish(j.detector)
	}
	return err
}

// next is the earliest slot that a worker has closed. All workers have one waiting: on an idle link, too, each closes its slots.
func (j *judge) next() (slot int64, any bool) {
	var first *slotResult
	for _, h := range j.heads {
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
	if apart := r.slot - o.slot; r.epoch != o.epoch && (apart > jumpSlots || apart < -jumpSlots) {
		return r.epoch < o.epoch
	}
	return r.slot < o.slot
}

func (j *judge) slot(ctx context.Context, slot int64) error {
	done, from := j.done[:0], j.from[:0]
	j.parts = j.parts[:0]
	for i, h := range j.heads {
		if h == nil || h.slot != slot {
			continue
		}
		done, from = append(done, h), append(from, i)
		j.parts = append(j.parts, &h.acc)
	}
	j.done, j.from = done, from
	received, lost := j.losses()
	err := j.pass(ctx, slot, received, lost)
	if j.detector != nil {
		if slot < j.last-jumpSlots {
			err = errors.Join(err, j.alerts(ctx, j.detector.SetBack(slot*models.SlotMicros)))
		}
		j.last = slot
		err = errors.Join(err, j.alerts(ctx, j.detector.Slot(slot, j.parts, received, lost)))
		if second := slot * models.SlotMicros / 1_000_000; second != j.lastStat {
			j.lastStat = second
			j.publish()
		}
		if j.saver != nil {
			j.saver.offer(j.detector)
		}
	}
	j.attribute(done)
	j.reached.Store((slot + 1) * models.SlotMicros)
	j.rates.add(slot, done)
	j.export.offer(done, lost-j.lost)
	j.lost = lost
	for k, i := range from {
		j.workers[i].free <- done[k]
		j.heads[i] = <-j.workers[i].out
	}
	return err
}

// pass hands on the slot that is about to be judged.
func (j *judge) pass(ctx context.Context, slot int64, received, lost uint64) error {
	if j.outputs.Slots == nil {
		return nil
	}
	s := models.SensorSlot{N: slot, Received: received, Lost: lost, Parts: j.passed[:0]}
	for _, d := range j.done {
		s.Epoch = max(s.Epoch, uint64(d.epoch))
		s.Parts = append(s.Parts, d.part)
	}
	j.passed = s.Parts
	return j.outputs.Slots(ctx, &s)
}

// communityID is that of the one connection that an alert is about, "" where there are several.
func communityID(a *models.Alert) string {
	src, err := netip.ParseAddr(a.SrcIP)
	dst, err2 := netip.ParseAddr(a.DstIP)
	proto, ok := models.ParseProto(a.Proto)
	if err != nil || err2 != nil || !ok || a.SrcPort == 0 || a.DstPort == 0 || a.Peers.Total > 1 {
		return ""
	}
	return flow.CommunityID(models.AddrFromNetip(src), models.AddrFromNetip(dst), a.SrcPort, a.DstPort, proto)
}

// attribute notes which incidents the connections that go to the export belong to.
func (j *judge) attribute(done []*slotResult) {
	if j.detector == nil {
		return
	}
	for _, d := range done {
		for _, records := range [][]flow.Record{d.records, d.active} {
			for i := range records {
				r := &records[i]
				r.Incident, r.Score = j.detector.IncidentOf(r.Orig, r.Resp, r.RespPort, r.Proto, r.Completed())
			}
		}
	}
}

func (j *judge) publish() {
	s := j.detector.Stats()
	j.public.Store(&s)
}

func (j *judge) alerts(ctx context.Context, alerts []models.Alert) error {
	if len(alerts) == 0 {
		return nil
	}
	j.raised.Add(uint64(len(alerts)))
	for i := range alerts {
		a := &alerts[i] // what goes on beyond a step of the file's clock keeps its length
		ts := models.Micros(j.fileTime(int64(a.TS)))
		a.TS, a.LastTS = ts, a.LastTS-a.TS+ts
		a.CommunityID = communityID(a)
		if j.live && alerts[i].Rev == 1 { // later revisions wait for their second
			j.clock.observe(int64(alerts[i].TS))
		}
	}
	if j.outputs.Alerts == nil {
		return nil
	}
	return j.outputs.Alerts(ctx, alerts)
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
