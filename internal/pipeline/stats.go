package pipeline

import (
	"netlyra/internal/capture"
	"netlyra/internal/decode"
	"netlyra/internal/flow"
	"netlyra/internal/models"
)

// decoders are the published counts of whoever decodes: the reader, or every worker.
func (p *Pipeline) decoders() []*published {
	if p.reader != nil {
		return []*published{&p.reader.public}
	}
	ps := make([]*published, len(p.workers))
	for i, w := range p.workers {
		ps[i] = &w.public
	}
	return ps
}

// losses are the packets that reached a worker, and those that the capture lost.
func (p *Pipeline) losses() (received, lost uint64) {
	s := p.captured()
	return s.Frames, s.Dropped
}

func (p *Pipeline) captured() (sum capture.Stats) {
	for _, src := range p.options.Sources {
		s := src.Stats()
		sum.Received += s.Received
		sum.Frames += s.Frames
		sum.Bytes += s.Bytes
		sum.Dropped += s.Dropped
		sum.Freezes += s.Freezes
		sum.Skipped += s.Skipped
		sum.Outliers += s.Outliers
		sum.SetBacks += s.SetBacks
	}
	return sum
}

// Stats is the state of the pipeline in numbers. It may be called from any goroutine, and is cheap.
func (p *Pipeline) Stats() models.Stats {
	s := models.Stats{
		Sensor: p.options.Sensor, Source: p.options.SourceName, UptimeSeconds: p.options.Now().Sub(p.started).Seconds(),
		ByProto: map[string]models.Volume{}, Malformed: map[string]uint64{}, Interfaces: []models.Interface{},
	}
	var c counts
	for _, d := range p.decoders() {
		one := d.load()
		s.LatePackets += one.late
		s.ClockJumps += one.jumps
		c.add(&one.counts)
	}
	c.fill(&s)
	if s.LastPacketTS != 0 {
		s.LastPacketTS = models.Micros(p.options.FileTime(int64(s.LastPacketTS)))
	}
	captured := p.captured()
	s.TimeOutliers = captured.Outliers
	s.ClockJumps += captured.SetBacks
	if reached := p.merger.reached.Load(); reached != 0 {
		s.ClockTS = models.Micros(p.options.FileTime(reached))
	}
	f := p.flowCounters()
	s.Connections = models.ConnStats{Active: f.Active, Opened: f.Opened, Expired: f.Expired, Evicted: f.Evicted, Unstored: f.RecordsLost}
	if r := p.merger.rates.public.Load(); r != nil {
		s.PacketRate, s.ByteRate = float64(r.Packets), float64(r.Bytes)
	}
	s.Drops = append(captured.Drops(),
		models.Drop{Stage: "flow", Reason: "hello_buffers", Count: f.HelloBuffers, Unit: models.DropRows, Effect: models.DropUnlisted},
		models.Drop{Stage: "flow", Reason: "unanswered", Count: f.FailedUntold, Unit: models.DropRows, Effect: models.DropUnjudged},
		models.Drop{Stage: "flow", Reason: "hellos_kept", Count: f.SNICap, Unit: models.DropRows, Effect: models.DropUnlisted},
		models.Drop{Stage: "export", Reason: "queue_full", Count: p.export.dropped.Load(), Unit: models.DropSlots, Effect: models.DropUnstored},
		models.Drop{Stage: "export", Reason: "hosts_at_once", Count: p.export.hostsSkipped.Load(), Unit: models.DropRows, Effect: models.DropUnlisted})
	if p.options.Links != nil {
		s.Interfaces = p.options.Links()
	}
	if p.options.Live {
		first, rest := p.workers[0].clock, make([]*Latency, 0, len(p.workers))
		for _, w := range p.workers[1:] {
			rest = append(rest, w.clock)
		}
		s.LatencyMS = []models.StageLatency{first.Stage("analysed", rest...)}
	}
	return s
}

func (p *Pipeline) flowCounters() (sum flow.Counters) {
	for _, w := range p.workers {
		f := w.public.load().flow
		sum.Active += f.Active
		sum.Opened += f.Opened
		sum.Expired += f.Expired
		sum.Evicted += f.Evicted
		sum.RecordsLost += f.RecordsLost
		sum.HelloBuffers += f.HelloBuffers
		sum.FailedUntold += f.FailedUntold
		sum.SNICap += f.SNICap
	}
	return sum
}

func (c *counts) add(o *counts) {
	c.packets += o.packets
	for v := range c.verdicts {
		c.verdicts[v] += o.verdicts[v]
	}
	c.volumes.add(&o.volumes)
	c.first += o.first
	c.later += o.later
	c.lastTS = max(c.lastTS, o.lastTS)
}

func (c *counts) fill(s *models.Stats) {
	total := c.volumes.total()
	s.Packets, s.Bytes = total.Packets, total.Bytes
	s.Decoded, s.NonIP = c.verdicts[decode.OK], c.verdicts[decode.NonIP]
	s.Fragments = models.Fragments{First: c.first, Later: c.later}
	s.LastPacketTS = models.Micros(c.lastTS)
	for v := range decode.NumVerdicts {
		if verdict := decode.Verdict(v); verdict.Malformed() && c.verdicts[v] > 0 {
			s.Malformed[verdict.String()] = c.verdicts[v]
		}
	}
	for class := range numProtoClasses {
		if c.volumes[class].Packets > 0 {
			s.ByProto[class.String()] = c.volumes[class]
		}
	}
}

// Generation rises whenever Stats may have changed.
func (p *Pipeline) Generation() uint64 { return p.generation.Load() }
