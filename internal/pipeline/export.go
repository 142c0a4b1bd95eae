package pipeline

import (
	"sync/atomic"

	"netlyra/internal/flow"
	"netlyra/internal/models"
)

// export turns what the packet path reports into what is stored and shown: connections with their texts, hosts, series, the
// connections that move. It is fed by the merger over a bounded queue; when that is full, results are dropped and counted.
type export struct {
	sensor   string
	outputs  Outputs
	fileTime func(int64) int64
	wait     bool
	in       chan *report
	free     chan *report
	dropped  atomic.Uint64
	// hostsSkipped counts connections whose addresses were not added to the host list because too many moved at once.
	hostsSkipped atomic.Uint64
	hosts        map[models.Addr]*models.Host
	series       []models.SeriesPoint
	flushed      int64 // slot of the last flush of hosts and series
	now          int64 // capture time of it

	// What follows is the merger's.
	ends []flow.Record // of results that were dropped
	lost uint64        // packets lost in the time of these
}

// report is a copy of what a slot's results have for the export.
type report struct {
	slot    int64
	volume  Volumes
	opened  uint64
	lost    uint64 // packets, in the capture
	records []flow.Record
	active  []flow.Record
	hosts   []hostMove
}

// end is the end of a report's slot, in the file's time, as that of connections. Microseconds.
func (x *export) end(r *report) int64 { return x.fileTime((r.slot + 1) * models.SlotMicros) }

// hostMove is what an address sent and received in a slot.
type hostMove struct {
	addr models.Addr
	mac  models.MAC
	sent models.Volume
	recv models.Volume
	ts   int64
}

const (
	hostsPerSlot  = 2048 // addresses per slot that the host list hears of; those of a flood are not hosts
	hostsPerFlush = 8192
	maxEnds       = 1 << 16 // connections that have ended and wait for room in the export
)

func newExport(o Options) *export {
	x := &export{
		sensor: o.Sensor, outputs: o.Outputs, fileTime: o.FileTime, wait: o.Wait, in: make(chan *report, exportQueue), free: make(chan *report, exportQueue+2),
		hosts: map[models.Addr]*models.Host{},
	}
	for range cap(x.free) {
		x.free <- &report{}
	}
	return x
}

func (x *export) wanted() bool {
	return x.outputs.Connections != nil || x.outputs.Hosts != nil || x.outputs.Series != nil
}

// offer copies what it needs of a slot's results, and how many packets the capture has lost since the slot before. Unless it may, it never
// waits: then connections that have ended, which would stay open in the database, go with the next report that there is room for.
func (x *export) offer(done []*slotResult, lost uint64) {
	if !x.wanted() || len(done) == 0 {
		return
	}
	r := x.report()
	if r == nil {
		x.dropped.Add(uint64(len(done)))
		x.lost += lost
		x.keepEnds(done)
		return
	}
	*r = report{slot: done[0].slot, lost: x.lost + lost, records: append(r.records[:0], x.ends...), active: r.active[:0], hosts: r.hosts[:0]}
	x.ends, x.lost = x.ends[:0], 0
	for _, d := range done {
		r.volume.add(&d.volume)
		r.opened += d.newConnections()
		r.records = append(r.records, d.records...)
		r.active = append(r.active, d.active...)
		if x.outputs.Hosts != nil {
			x.hostsSkipped.Add(r.addHosts(d.part.Conns))
		}
	}
	x.in <- r // there is room: the queue is as long as there are reports
}

// keepEnds puts by the connections that have ended.
func (x *export) keepEnds(done []*slotResult) {
	for _, d := range done {
		for i := range d.records {
			if d.records[i].End != models.ConnOpen && len(x.ends) < maxEnds {
				x.ends = append(x.ends, d.records[i])
			}
		}
	}
}

// report is an empty report; nil if all are under way.
func (x *export) report() *report {
	if x.wait {
		return <-x.free
	}
	select {
	case r := <-x.free:
		return r
	default:
		return nil
	}
}

func (d *slotResult) newConnections() (n uint64) {
	for i := range d.part.Conns {
		if d.part.Conns[i].New {
			n++
		}
	}
	return n
}

func (r *report) addHosts(slots []models.ConnSlot) (skipped uint64) {
	for i := range slots {
		if len(r.hosts) >= hostsPerSlot {
			return uint64(len(slots) - i)
		}
		s := &slots[i]
		up := models.Volume{Packets: uint64(s.Up.Packets), Bytes: s.Up.Bytes}
		down := models.Volume{Packets: uint64(s.Down.Packets), Bytes: s.Down.Bytes}
		r.hosts = append(r.hosts, hostMove{s.Orig, s.OrigMAC, up, down, s.Last})
		if s.Answered && !s.Resp.IsMulticast() {
			r.hosts = append(r.hosts, hostMove{s.Resp, s.RespMAC, down, up, s.Last})
		}
	}
	return 0
}

// run exports until the merger has ended.
func (x *export) run() {
	for r := range x.in {
		x.connections(r)
		x.countHosts(r)
		x.countSeries(r)
		if r.slot-x.flushed >= rateSlots || r.slot < x.flushed {
			x.flush(x.end(r))
			x.flushed = r.slot
		}
		x.free <- r
	}
	x.flush(x.now)
}

func (x *export) connections(r *report) {
	if x.outputs.Connections == nil || len(r.records)+len(r.active) == 0 {
		return
	}
	cs := make([]models.Connection, 0, len(r.records)+len(r.active))
	for _, records := range [][]flow.Record{r.records, r.active} {
		for i := range records {
			cs = append(cs, x.connection(&records[i]))
		}
	}
	n := len(r.records)
	x.outputs.Connections(x.end(r), cs[:n:n], cs[n:])
}

// connection is a record's stored form. One that goes on beyond a step of the file's clock keeps its length.
func (x *export) connection(r *flow.Record) models.Connection {
	c := r.Connection(x.sensor)
	first := models.Micros(x.fileTime(r.First))
	c.FirstTS, c.LastTS = first, c.LastTS-c.FirstTS+first
	return c
}

func (x *export) countHosts(r *report) {
	for i := range r.hosts {
		m := &r.hosts[i]
		m.ts = x.fileTime(m.ts)
		h := x.hosts[m.addr]
		if h == nil {
			if len(x.hosts) >= hostsPerFlush {
				x.hostsSkipped.Add(1)
				continue
			}
			h = &models.Host{Sensor: x.sensor, IP: m.addr.String(), FirstTS: models.Micros(m.ts)}
			x.hosts[m.addr] = h
		}
		if m.mac != (models.MAC{}) && h.MAC == "" {
			h.MAC = m.mac.String()
		}
		h.FirstTS = min(h.FirstTS, models.Micros(m.ts))
		h.LastTS = max(h.LastTS, models.Micros(m.ts))
		h.PacketsSent += m.sent.Packets
		h.BytesSent += m.sent.Bytes
		h.PacketsRecv += m.recv.Packets
		h.BytesRecv += m.recv.Bytes
	}
}

func (x *export) countSeries(r *report) {
	if x.outputs.Series == nil {
		return
	}
	total := r.volume.total()
	ts := x.fileTime(r.slot*models.SlotMicros) / 1_000_000
	if n := len(x.series); n == 0 || x.series[n-1].TS != ts {
		x.series = append(x.series, models.SeriesPoint{Sensor: x.sensor, Step: 1, TS: ts})
	}
	p := &x.series[len(x.series)-1]
	p.Packets += total.Packets
	p.Bytes += total.Bytes
	p.TCPBytes += r.volume[classTCP].Bytes
	p.UDPBytes += r.volume[classUDP].Bytes
	p.OtherBytes += total.Bytes - r.volume[classTCP].Bytes - r.volume[classUDP].Bytes
	p.Connections += r.opened
	p.Drops += r.lost
}

// flush hands on hosts and series. now is capture time.
func (x *export) flush(now int64) {
	x.now = now
	if x.outputs.Connections != nil {
		x.outputs.Connections(now, nil, nil) // time passes, though nothing may move
	}
	if x.outputs.Series != nil && len(x.series) > 0 {
		x.outputs.Series(now, x.series)
		x.series = x.series[:0]
	}
	if x.outputs.Hosts != nil && len(x.hosts) > 0 {
		hs := make([]models.Host, 0, len(x.hosts))
		for _, h := range x.hosts {
			hs = append(hs, *h)
		}
		x.outputs.Hosts(now, hs)
		clear(x.hosts)
	}
}
