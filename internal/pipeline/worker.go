package pipeline

import (
	"netlyra/internal/decode"
	"netlyra/internal/flow"
	"netlyra/internal/models"
)

// worker decodes packets, keeps their connections, and closes slots. Its table and decoder are its own; other goroutines see what it
// hands over at a slot's end and the counters that it publishes after each batch.
type worker struct {
	live    bool
	dealt   bool // its packets come from a reader that deals out
	decoder decode.Decoder
	table   *flow.Table
	batch   models.Batch
	packets [batchPackets]models.Packet
	counts  counts
	public  published
	clock   *Latency // packet stamp to analysed
	changed func()
	stamper stamper
	slot    int64                // the open one
	epoch   int                  // how often the clock has been set back
	volume  Volumes              // of the open slot
	arp     []models.Observation // of the open slot
	dns     []models.Question    // of the open slot
	unheard uint64               // DNS messages of the open slot that there was no room for

	encode  func(dst []byte, p *models.PacketMeta, arena []byte) []byte // nil: nobody wants the packets
	encoded []byte                                                      // the packets of the open slot

	asks    chan *ask
	ended   chan struct{} // closed when the worker has ended
	in      chan *chunk   // from a reader that deals out
	recycle chan<- *chunk
	free    chan *slotResult
	idle    []*slotResult // have come back through free
	out     chan *slotResult
}

// slotResult is what a worker hands over at the end of a slot. It goes round: the merger gives it back.
type slotResult struct {
	slot    int64
	epoch   int // how often the worker has seen the clock set back
	part    models.SlotPart
	packets []byte // encoded
	volume  Volumes
	opened  uint64 // connections opened so far
	records []flow.Record
	active  []flow.Record // those that move most
}

// stamper gives packets their slot. It is run by whoever reads a source, before packets are dealt out.
type stamper struct {
	open    int64
	started bool
	packets int // in the open slot
	late    uint64
	jumps   uint64
}

// step is what a packet's time asks of the slots.
type step int

const (
	stay    step = iota // the packet belongs to the open slot, or comes late and joins it
	begin               // the first packet: open its slot
	advance             // close the open slot, open the packet's
	setBack             // the same, and the clock was set back
)

// stamp gives a packet of capture time ts its slot.
func (s *stamper) stamp(ts int64) (slot int64, do step) {
	slot = models.Slot(ts)
	s.packets++
	if s.packets > slotPackets && s.started && slot <= s.open && slot >= s.open-models.SetBackSlots {
		return s.open, advance // cut the slot in two: what one slot moves must have a bound
	}
	switch {
	case !s.started:
		s.started = true
		s.open = slot
		return slot, begin
	case slot == s.open:
		return slot, stay
	case slot > s.open:
		return slot, advance
	case slot < s.open-models.SetBackSlots:
		s.jumps++
		return slot, setBack
	}
	s.late++
	return s.open, stay
}

func newWorker(o Options, i int) (*worker, error) {
	f := o.Flow
	f.FirstID = max(f.FirstID, 1) + int64(i)
	f.IDStride = int64(o.Workers)
	if o.Outputs.Connections != nil || o.Live {
		f.Records = recordsPerSlot
	}
	table, err := flow.New(f)
	if err != nil {
		return nil, err
	}
	w := &worker{
		live: o.Live, clock: NewLatency(o.Now), table: table, changed: o.Outputs.Changed,
		free: make(chan *slotResult, slotsInFlight), out: make(chan *slotResult, slotsInFlight), in: make(chan *chunk, chunksInFlight),
		asks: make(chan *ask, maxAsks), ended: make(chan struct{}),
	}
	if o.Outputs.EncodePacket != nil {
		w.encode = o.Outputs.EncodePacket()
	}
	for range slotsInFlight {
		r := &slotResult{}
		if o.Detector != nil {
			r.part.Roll = o.Detector.Roll()
		}
		w.free <- r
	}
	return w, nil
}

// read takes a source to its end.
func (w *worker) read(src Source) error {
	for {
		err := src.Read(&w.batch)
		w.frames(w.batch.Frames)
		w.passed(w.batch.Watermark)
		w.publish(len(w.batch.Frames) > 0)
		w.reply()
		if err != nil {
			w.finish()
			return endOfSource(err)
		}
	}
}

// frames decodes and adds frames, batchPackets at a time; a batch ends where its slot does.
func (w *worker) frames(fs []models.Frame) {
	n := 0
	w.decoder.Reset()
	for i := range fs {
		f := &fs[i]
		if slot, do := w.stamper.stamp(f.TS); do != stay {
			w.connect(w.packets[:n], w.decoder.Arena)
			n = 0
			w.turn(slot, do)
		}
		if w.counts.decode(&w.decoder, f, &w.packets[n], &w.volume) {
			n++
		}
		if n == batchPackets {
			w.connect(w.packets[:n], w.decoder.Arena)
			n = 0
		}
	}
	w.connect(w.packets[:n], w.decoder.Arena)
	if len(fs) > 0 && w.live {
		w.clock.Observe(fs[0].TS)
	}
}

// connect takes decoded packets, whose DNS names lie in text, into their connections; what the detector hears of beside connections
// is noted.
func (w *worker) connect(ps []models.Packet, text []byte) {
	for i := range ps {
		p := &ps[i]
		p.Entropy = w.decoder.Entropy(p.Payload)
		if p.Proto == models.ProtoARP {
			w.observe(p)
		}
		if p.DNSQuestion.Len > 0 && (p.SrcPort == portDNS || p.DstPort == portDNS) {
			w.question(p, text)
		}
	}
	w.decoder.Arena = w.table.Update(ps, w.decoder.Arena)
	if w.encode != nil {
		w.write(ps, text)
	}
	w.decoder.Reset()
}

// write encodes packets. Their DNS names lie in text, the texts of their hellos in the decoder's arena, which may be another: then the names are
// copied there.
func (w *worker) write(ps []models.Packet, text []byte) {
	for i := range ps {
		p := &ps[i].PacketMeta
		if w.dealt && p.DNSQuestion.Len > 0 {
			name := p.DNSQuestion.In(text)
			p.DNSQuestion.Off = uint32(len(w.decoder.Arena))
			w.decoder.Arena = append(w.decoder.Arena, name...)
		}
		w.encoded = w.encode(w.encoded, p, w.decoder.Arena)
	}
}

const (
	portDNS      = 53      // RFC 1035, section 4.2
	maxQuestions = 1 << 12 // DNS messages per worker and slot that the detector hears of
	maxARP       = 1 << 14 // ARP packets, likewise
)

// observe notes an ARP packet.
func (w *worker) observe(p *models.Packet) {
	if len(w.arp) == maxARP {
		w.unheard++
		return
	}
	w.arp = append(w.arp, models.Observation{TS: p.TS, Op: p.ARPOp, Sender: p.Src, Target: p.Dst, MAC: p.ARPSenderMAC})
}

// question notes a DNS message. Its name is copied: the batch's text is gone when the slot ends.
func (w *worker) question(p *models.Packet, text []byte) {
	if len(w.dns) == maxQuestions {
		w.unheard++
		return
	}
	q := models.Question{TS: p.TS, Client: p.Src, Server: p.Dst, QType: p.DNSQType, Rcode: p.DNSRcode, Answer: p.DNSAnswer, Size: p.PayloadLen}
	if q.Answer {
		q.Client, q.Server = q.Server, q.Client
	}
	q.Len = uint8(copy(q.Name[:], p.DNSQuestion.In(text)))
	w.dns = append(w.dns, q)
}

// passed closes the open slot if the source says that time has gone beyond it. On an idle link, too, slots pass: the merger waits for
// those of every worker.
func (w *worker) passed(watermark int64) {
	slot := models.Slot(watermark)
	switch {
	case watermark <= 0:
	case !w.stamper.started:
		w.stamper.started = true
		w.turn(slot, begin)
	case slot > w.slot:
		w.turn(slot, advance)
	case slot < w.slot-models.SetBackSlots:
		w.stamper.jumps++
		w.turn(slot, setBack)
	}
}

// turn closes the open slot, if there is one, and opens next. When the clock was set back, the connections end: their times
// mean nothing any more.
func (w *worker) turn(next int64, do step) {
	if do != begin {
		w.closeSlot()
	}
	if do == setBack {
		w.flush()
		w.epoch++
	}
	w.slot, w.stamper.open, w.stamper.packets = next, next, 0
	w.table.OpenSlot(next)
}

// result takes a result that has come back, the latest: it is the one that the caches know best. (A busy slot's fills them.)
func (w *worker) result() *slotResult {
	for {
		select {
		case r := <-w.free:
			w.idle = append(w.idle, r)
			continue
		default:
		}
		if len(w.idle) == 0 {
			return <-w.free
		}
		r := w.idle[len(w.idle)-1]
		w.idle = w.idle[:len(w.idle)-1]
		return r
	}
}

func (w *worker) closeSlot() {
	r := w.result()
	r.slot, r.epoch = w.slot, w.epoch
	w.counts.volumes.add(&w.volume)
	r.volume, w.volume = w.volume, Volumes{}
	r.active = r.active[:0]
	if w.live {
		r.active = w.moving(r.active)
	}
	r.part.Conns = w.table.TakeSlots(r.part.Conns)
	w.table.Advance((r.slot + 1) * models.SlotMicros)
	r.part.Failed = w.table.TakeFailed(r.part.Failed)
	r.part.ARP, w.arp = w.arp, r.part.ARP[:0]
	r.part.DNS, w.dns = w.dns, r.part.DNS[:0]
	r.part.Unheard, w.unheard = w.unheard, 0
	r.packets, w.encoded = w.encoded, r.packets[:0]
	r.roll()
	w.table.Sweep(sweepSlots)
	r.records = append(r.records[:0], w.table.Drain()...)
	r.opened = w.table.Counters().Opened
	w.out <- r
}

// roll lets the detector roll up the part, if there is one.
func (r *slotResult) roll() {
	if r.part.Roll != nil {
		r.part.Roll.Take(&r.part)
	}
}

// moving picks the connections that moved most bytes in the slot.
func (w *worker) moving(dst []flow.Record) []flow.Record {
	slots := w.table.Slots()
	least := uint64(0)
	if len(slots) > movingPerSlot {
		least = heaviest(slots, movingPerSlot)
	}
	return w.table.View(dst, movingPerSlot, func(s *models.ConnSlot) bool { return s.Up.Bytes+s.Down.Bytes >= least })
}

// heaviest is a number of bytes that about n of the slots reach, by a histogram over powers of two.
func heaviest(slots []models.ConnSlot, n int) uint64 {
	var counts [65]int
	for i := range slots {
		counts[bitLen(slots[i].Up.Bytes+slots[i].Down.Bytes)]++
	}
	for b, reached := len(counts)-1, 0; b > 0; b-- {
		if reached += counts[b]; reached >= n {
			return 1 << (b - 1)
		}
	}
	return 0
}

// finish closes the last slot and ends every connection.
func (w *worker) finish() {
	if w.stamper.started {
		w.closeSlot()
	}
	w.flush()
	w.publish(true)
}

// flush ends every connection, as many at a time as there is room for their records.
func (w *worker) flush() {
	w.table.OpenSlot(w.slot)
	for more := true; more; {
		more = w.table.Flush(recordsPerSlot / 2)
		r := w.result()
		r.empty(w.slot, w.epoch)
		r.records = append(r.records, w.table.Drain()...)
		r.opened = w.table.Counters().Opened
		w.out <- r
	}
}

// empty makes r the result of a slot in which nothing moved.
func (r *slotResult) empty(slot int64, epoch int) {
	r.slot, r.epoch, r.volume = slot, epoch, Volumes{}
	p := &r.part
	*p = models.SlotPart{Roll: p.Roll, Conns: p.Conns[:0], Failed: p.Failed[:0], ARP: p.ARP[:0], DNS: p.DNS[:0]}
	r.roll()
	r.records, r.active, r.packets = r.records[:0], r.active[:0], r.packets[:0]
}

// publish shows others what has been done.
func (w *worker) publish(news bool) {
	w.public.store(&w.counts, &w.volume, w.table.Counters(), &w.stamper)
	if news {
		w.changed()
	}
}
