package role

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync/atomic"
	"time"

	"netlyra/internal/detect"
	"netlyra/internal/flow"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
)

// DetectorOptions configure a Detector.
type DetectorOptions struct {
	Sensor    string
	Detect    detect.Options
	Live      bool          // capture time is now: latency is measured, and incidents go on with the next run
	SaveEvery time.Duration // how often what has been learned is saved; 0 means 5 minutes. After an incident has opened or closed it is within 15 s
}

// DetectorDeps are what a Detector needs.
type DetectorDeps struct {
	// Alerts takes new revisions of incidents. It may block: the detector then waits, and the sensor after it.
	Alerts func(ctx context.Context, alerts []models.Alert) error
	// Memory keeps what has been learned; nil: the detector begins anew, and is forgotten.
	Memory Memory
	// FileTime turns a sensor's times into those that its file has; nil: they are the same.
	FileTime func(ts int64) int64
	Now      func() time.Time // the wall clock; nil means time.Now
}

// Detector turns the slots of one sensor into alerts. It is the pipeline's in the same process.
type Detector struct {
	options DetectorOptions
	deps    DetectorDeps
	judge   *detect.Judge
	saver   *saver // nil: nothing is kept
	closed  chan struct{}
	clock   *pipeline.Latency // packet stamp to alert
	raised  atomic.Uint64     // revisions
	public  atomic.Pointer[models.DetectorStats]

	// What follows belongs to whoever hands in slots.
	last  int64 // slot judged last
	stat  int64 // second of the last statistics
	rolls []*detect.Accumulator
	own   []*detect.Accumulator // for parts that nobody has rolled up
}

// noSlot lies before any slot.
const noSlot = math.MinInt64 / 2

var _ pipeline.Detector = (*Detector)(nil)

// NewDetector makes a detector that knows what is remembered. The error is one of the options, or of what is remembered.
func NewDetector(o DetectorOptions, deps DetectorDeps) (*Detector, error) {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.FileTime == nil {
		deps.FileTime = func(ts int64) int64 { return ts }
	}
	o.Detect.Sensor = o.Sensor
	judge, err := detect.NewJudge(o.Detect)
	if err != nil {
		return nil, fmt.Errorf("detector: %w", err)
	}
	d := &Detector{options: o, deps: deps, judge: judge, closed: make(chan struct{}), clock: pipeline.NewLatency(deps.Now), last: noSlot}
	if deps.Memory != nil {
		d.saver = newSaver(deps.Memory, o.SaveEvery, deps.Now)
		if err := deps.Memory.Restore(judge.LoadState); err != nil {
			return nil, fmt.Errorf("detector: %w", err)
		}
	}
	d.publish()
	return d, nil
}

// Run saves what has been learned, until the sensor has closed the detector: ctx does not end it, as what the sensor has is still judged.
func (d *Detector) Run(context.Context) error {
	if d.saver != nil {
		d.saver.run()
	}
	<-d.closed
	return nil
}

// OpenIncidents lists the alerts that go on from an earlier run. It is for before the first slot.
func (d *Detector) OpenIncidents() []string { return d.judge.OpenIncidents() }

// Fill adds what the detector knows to the statistics of its sensor. It may be called from any goroutine.
func (d *Detector) Fill(s *models.Stats) {
	s.Detector = *d.public.Load()
	s.Alerts.Raised = d.raised.Load()
	if d.options.Live {
		s.LatencyMS = append(s.LatencyMS, d.clock.Stage("alert"))
	}
}

// Roll makes what a worker fills with its part of a slot.
func (d *Detector) Roll() models.Roll { return &detect.Accumulator{} }

// Slot judges the next slot.
func (d *Detector) Slot(ctx context.Context, s *models.SensorSlot) error {
	var err error
	if s.N < d.last-models.SetBackSlots {
		err = d.alerts(ctx, d.judge.SetBack(s.N*models.SlotMicros))
	}
	d.last = s.N
	err = errors.Join(err, d.alerts(ctx, d.judge.Slot(s.N, d.rolled(s.Parts), s.Received, s.Lost)))
	if second := s.N * models.SlotMicros / 1_000_000; second != d.stat {
		d.stat = second
		d.publish()
	}
	if d.saver != nil {
		d.saver.offer(d.judge)
	}
	return err
}

// restarted tells that the next slot is of another start of the sensor, whose clock may be another.
func (d *Detector) restarted() {
	d.judge.Restarted()
	d.last = noSlot
}

// rolled are the parts as the judge takes them.
func (d *Detector) rolled(parts []models.SlotPart) []*detect.Accumulator {
	d.rolls = d.rolls[:0]
	own := 0
	for i := range parts {
		if a, ok := parts[i].Roll.(*detect.Accumulator); ok {
			d.rolls = append(d.rolls, a)
			continue
		}
		if own == len(d.own) {
			d.own = append(d.own, &detect.Accumulator{})
		}
		d.own[own].Take(&parts[i])
		d.rolls = append(d.rolls, d.own[own])
		own++
	}
	return d.rolls
}

// IncidentOf names the open incident that a connection belongs to, and its score; "" for none.
func (d *Detector) IncidentOf(orig, resp models.Addr, respPort uint16, proto models.Proto, completed bool) (id string, score float64) {
	return d.judge.IncidentOf(orig, resp, respPort, proto, completed)
}

// Close ends what is open, unless it is remembered and goes on with the next run, and saves what is known.
func (d *Detector) Close(ctx context.Context, interrupted bool) error {
	defer close(d.closed)
	var err error
	if d.saver != nil && d.options.Live && interrupted {
		err = d.alerts(ctx, d.judge.Rest())
	} else {
		err = d.alerts(ctx, d.judge.Finish())
	}
	d.publish()
	if d.saver != nil {
		d.saver.finish(d.judge)
	}
	return err
}

func (d *Detector) publish() {
	s := d.judge.Stats()
	d.public.Store(&s)
}

func (d *Detector) alerts(ctx context.Context, alerts []models.Alert) error {
	if len(alerts) == 0 {
		return nil
	}
	d.raised.Add(uint64(len(alerts)))
	for i := range alerts {
		a := &alerts[i] // what goes on beyond a step of the file's clock keeps its length
		ts := models.Micros(d.deps.FileTime(int64(a.TS)))
		a.TS, a.LastTS = ts, a.LastTS-a.TS+ts
		a.CommunityID = communityID(a)
		if d.options.Live && a.Rev == 1 { // later revisions wait for their second
			d.clock.Observe(int64(a.TS))
		}
	}
	return d.deps.Alerts(ctx, alerts)
}

// communityID is that of the one connection that an alert is about, "" where there are several.
func communityID(a *models.Alert) string {
	src, err := netip.ParseAddr(a.SrcIP)
	dst, err2 := netip.ParseAddr(a.DstIP)
	proto, ok := models.ParseProto(a.Proto)
	if cmp.Or(err, err2) != nil || !ok || a.SrcPort == 0 || a.DstPort == 0 || a.Peers.Total > 1 {
		return ""
	}
	return flow.CommunityID(models.AddrFromNetip(src), models.AddrFromNetip(dst), a.SrcPort, a.DstPort, proto)
}
