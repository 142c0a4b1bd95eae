package pipeline

import (
	"math/bits"

	"netlyra/internal/decode"
	"netlyra/internal/flow"
	"netlyra/internal/models"
)

// reader takes a file for several workers: it decodes and deals the packets out by connection, so that each worker sees all packets of
// its connections in order. Packets travel in chunks, with a copy of their payloads, since a source's bytes are gone at its next Read.
type reader struct {
	src     Source
	workers []*worker
	decoder decode.Decoder
	batch   models.Batch
	counts  counts
	stamper stamper
	public  published
	open    []*chunk // per worker: the chunk that is being filled
	free    chan *chunk
	volume  Volumes
}

// chunk is what a worker gets at a time: packets of one slot, and then what to do.
type chunk struct {
	packets []models.Packet
	data    []byte // payloads and DNS names
	slot    int64
	do      step // begin, advance or setBack: open slot after the packets; stay: nothing
	volume  Volumes
}

const (
	chunksInFlight = 4
	chunkPackets   = 1024
	chunkBytes     = 1 << 20
)

func newReader(src Source, workers []*worker) *reader {
	r := &reader{src: src, workers: workers, open: make([]*chunk, len(workers)), free: make(chan *chunk, len(workers)*(chunksInFlight+2))}
	for range cap(r.free) {
		r.free <- &chunk{packets: make([]models.Packet, 0, chunkPackets), data: make([]byte, 0, chunkBytes)}
	}
	for i, w := range workers {
		r.open[i] = <-r.free
		w.recycle, w.dealt = r.free, true
	}
	return r
}

// run reads to the end of the source.
func (r *reader) run() error {
	for {
		err := r.src.Read(&r.batch)
		for i := range r.batch.Frames {
			r.frame(&r.batch.Frames[i])
		}
		if slot := models.Slot(r.batch.Watermark); r.stamper.started && r.batch.Watermark > 0 && slot > r.stamper.open {
			r.turn(slot, advance)
		}
		r.publish()
		if err != nil {
			r.open[0].volume.add(&r.volume)
			for i, w := range r.workers {
				r.send(i, 0, stay)
				close(w.in)
			}
			return endOfSource(err)
		}
	}
}

func (r *reader) frame(f *models.Frame) {
	if slot, do := r.stamper.stamp(f.TS); do != stay {
		r.turn(slot, do)
	}
	var p models.Packet
	r.decoder.Reset()
	if !r.counts.decode(&r.decoder, f, &p, &r.volume) {
		return
	}
	i := deal(&p, len(r.workers))
	c := r.open[i]
	if len(c.packets) == cap(c.packets) || len(c.data)+len(p.Payload)+len(r.decoder.Arena) > cap(c.data) && len(c.packets) > 0 {
		r.send(i, 0, stay)
		c = r.open[i]
	}
	at := len(c.data)
	c.data = append(c.data, p.Payload...)
	p.Payload = c.data[at:len(c.data):len(c.data)]
	if p.DNSQuestion.Len > 0 {
		p.DNSQuestion.Off += uint32(len(c.data))
		c.data = append(c.data, r.decoder.Arena...)
	}
	c.packets = append(c.packets, p)
}

// turn tells every worker to go on to slot; the volume of the one before goes to the first.
func (r *reader) turn(slot int64, do step) {
	r.stamper.open, r.stamper.packets = slot, 0
	r.open[0].volume.add(&r.volume)
	r.counts.volumes.add(&r.volume)
	r.volume = Volumes{}
	for i := range r.workers {
		r.send(i, slot, do)
	}
}

func (r *reader) send(i int, slot int64, do step) {
	c := r.open[i]
	c.slot, c.do = slot, do
	r.workers[i].in <- c
	r.open[i] = <-r.free
	*r.open[i] = chunk{packets: r.open[i].packets[:0], data: r.open[i].data[:0]}
}

// deal chooses the worker of a packet's connection, the same for both directions.
func deal(p *models.Packet, workers int) int {
	a, b := p.Src, p.Dst
	x := (a.Hi ^ a.Lo) + (b.Hi ^ b.Lo) // commutes
	if p.Proto.HasPorts() {
		x += uint64(p.SrcPort) + uint64(p.DstPort)
	}
	hi, lo := bits.Mul64(x^uint64(p.Proto), 0x9e3779b97f4a7c15)
	hi, _ = bits.Mul64(hi^lo, uint64(workers))
	return int(hi)
}

// chunks takes what the reader deals out, to the end.
func (w *worker) chunks() {
	for c := range w.in {
		w.volume.add(&c.volume)
		for ps := c.packets; len(ps) > 0; {
			n := min(len(ps), batchPackets)
			w.connect(ps[:n], c.data)
			ps = ps[n:]
		}
		if c.do != stay {
			w.stamper.started = true
			w.turn(c.slot, c.do)
		}
		w.publish(len(c.packets) > 0)
		w.reply()
		w.recycle <- c
	}
	w.finish()
}

// publish shows others what has been read.
func (r *reader) publish() { r.public.store(&r.counts, &r.volume, flow.Counters{}, &r.stamper) }
