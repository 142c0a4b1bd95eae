package bus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"netlyra/internal/models"
)

// What a record may be at most. The largest that is written has 4,096 DNS messages with names of 253 bytes: 1.5 MB.
const (
	maxPlain    = 2 << 20 // bytes, decompressed
	maxHeader   = 1 << 16 // bytes of a message's header
	maxColumns  = 256     // those of a later minor version included
	maxMetadata = 64
	maxParts    = 320 // of a slot
	maxWindow   = 8 << 20
)

// SlotRecord is one record of TopicSlots.
type SlotRecord struct {
	Kind           SlotKind
	Sensor         string
	Slot           int64 // number: models.SensorSlot.N
	Epoch          uint64
	Part, Parts    int    // this one, from 0, of how many of the slot
	Boot           uint64 // tells the starts of a sensor apart
	Seq            uint64 // counts the records of this start, from 0
	Received, Lost uint64
	models.SlotPart
}

// SlotDecoder reads records of TopicSlots. Whatever it is given, it neither panics nor takes more than some megabytes. It is not for several
// goroutines at once.
type SlotDecoder struct {
	zstd   *zstd.Decoder
	plain  []byte
	spots  []spot // of the columns, as the record has them
	places []int  // of our columns among them
	bufs   []extent
	conns  []column[models.ConnSlot]
	dns    []column[models.Question]
	arp    []column[models.Observation]
}

// spot is where a record has a column.
type spot struct {
	name   []byte // valid while the schema is read
	kind   columnKind
	known  bool // kind is one that we have
	buffer int  // index of its first
	count  int  // of buffers
	nulls  int64
}

// extent is a part of a record's body.
type extent struct{ at, size int }

// NewSlotDecoder makes a decoder.
func NewSlotDecoder() (*SlotDecoder, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPlain), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	return &SlotDecoder{zstd: z, conns: connectionColumns(), dns: dnsColumns(), arp: arpColumns()}, nil
}

// Decode reads a record into rec, whose memory it uses again. The error is ErrVersion or ErrMalformed, and says what is wrong.
func (d *SlotDecoder) Decode(record []byte, rec *SlotRecord) error {
	plain, err := d.zstd.DecodeAll(record, d.plain[:0])
	d.plain = plain[:0]
	if err != nil {
		return malformed("the record cannot be decompressed: %w", err)
	}
	rest := sliceSource(plain)
	if err := d.stream(&rest, rec); err != nil {
		return err
	}
	if len(rest) > 0 {
		return malformed("%d bytes follow the end of the stream", len(rest))
	}
	return nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// source gives the bytes of an IPC stream, in order. What it gives is valid until the next but one call.
type source interface {
	take(n int) ([]byte, error)
}

type sliceSource []byte

func (s *sliceSource) take(n int) ([]byte, error) {
	if n > len(*s) {
		return nil, malformed("the stream is cut: %d bytes are missing", n-len(*s))
	}
	b := (*s)[:n]
	*s = (*s)[n:]
	return b, nil
}

// The numbers of the Arrow format (Schema.fbs and Message.fbs, format version 1.x).
const (
	messageSchema = 1
	messageBatch  = 3
	metadataV5    = 4

	typeInt         = 2
	typeFloat       = 3
	typeBinary      = 4
	typeUTF8        = 5
	typeBool        = 6
	typeDecimal     = 7
	typeDate        = 8
	typeTime        = 9
	typeTimestamp   = 10
	typeFixedBinary = 15
	typeDuration    = 18
	unitMicrosecond = 2

	continuation = 0xffffffff
)

// stream reads one IPC stream: schema, one record batch, the end.
func (d *SlotDecoder) stream(src source, rec *SlotRecord) error {
	header, size, err := message(src, messageSchema)
	if err != nil {
		return err
	}
	if size != 0 {
		return malformed("the schema has a body")
	}
	if err := d.schema(header, rec); err != nil {
		return err
	}
	header, size, err = message(src, messageBatch)
	if err != nil {
		return err
	}
	rows, err := d.batch(header)
	if err != nil {
		return err
	}
	body, err := src.take(size)
	if err != nil {
		return err
	}
	if err := d.rows(rec, body, rows); err != nil {
		return err
	}
	end, err := src.take(8)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(end) != continuation || binary.LittleEndian.Uint32(end[4:]) != 0 {
		return malformed("a second record batch, or none of the end, follows the first")
	}
	return nil
}

// message reads a message's header: the table of the kind that is expected, and the size of the body that follows.
func message(src source, want int64) (header fbTable, body int, err error) {
	prefix, err := src.take(8)
	if err != nil {
		return header, 0, err
	}
	size := binary.LittleEndian.Uint32(prefix[4:])
	if binary.LittleEndian.Uint32(prefix) != continuation || size == 0 || size > maxHeader || size%8 != 0 {
		return header, 0, malformed("no message of an Arrow IPC stream where one must begin")
	}
	raw, err := src.take(int(size))
	if err != nil {
		return header, 0, err
	}
	m, ok := flatbuffer(raw).root()
	length := m.int(3, 8)
	switch {
	case !ok:
		return header, 0, malformed("the header of a message cannot be read")
	case m.int(0, 2) != metadataV5:
		return header, 0, malformed("a message is not of version V5 of the Arrow format")
	case m.int(1, 1) != want:
		return header, 0, malformed("a message is of kind %d, want %d", m.int(1, 1), want)
	case length < 0 || length > maxPlain:
		return header, 0, malformed("a message claims a body of %d bytes: at most %d", length, maxPlain)
	}
	return m.table(2), int(length), nil
}

// schema reads the record's metadata, and where its columns are.
func (d *SlotDecoder) schema(s fbTable, rec *SlotRecord) error {
	if s.int(0, 2) != 0 {
		return malformed("the record's numbers are big-endian")
	}
	if err := readMetadata(s, rec); err != nil {
		return err
	}
	first, n := s.vector(1, 4)
	if n == 0 || n > maxColumns {
		return malformed("the record has %d columns: 1 to %d", n, maxColumns)
	}
	d.spots = d.spots[:0]
	buffer := 0
	for i := range n {
		f, _ := s.b.behind(first + 4*i)
		sp := spot{name: f.text(0), buffer: buffer}
		if _, children := f.vector(5, 4); children > 0 || f.has(4) {
			return malformed("column %.64q is nested or a dictionary", sp.name)
		}
		if sp.kind, sp.known, sp.count = fieldKind(f); sp.count == 0 {
			return malformed("column %.64q is of a type that is not known", sp.name)
		}
		buffer += sp.count
		d.spots = append(d.spots, sp)
	}
	return d.fit(rec.Kind)
}

// fieldKind is the type of a field and how many buffers it has; 0 buffers: it is none that a record may have.
func fieldKind(f fbTable) (kind columnKind, known bool, buffers int) {
	t := f.table(3)
	switch f.int(2, 1) {
	case typeInt:
		if t.int(1, 1) != 0 {
			return 0, false, 2
		}
		switch t.int(0, 4) {
		case 8:
			return kindUint8, true, 2
		case 16:
			return kindUint16, true, 2
		case 32:
			return kindUint32, true, 2
		case 64:
			return kindUint64, true, 2
		}
		return 0, false, 2
	case typeBinary:
		return kindBytes, true, 3
	case typeUTF8:
		return kindAddr, true, 3
	case typeBool:
		return kindBool, true, 2
	case typeTimestamp:
		return kindTime, t.int(0, 2) == unitMicrosecond && string(t.text(1)) == "UTC", 2
	case typeFixedBinary:
		return kindMAC, t.int(0, 4) == int64(len(models.MAC{})), 2
	case typeFloat, typeDecimal, typeDate, typeTime, typeDuration:
		return 0, false, 2
	}
	return 0, false, 0
}

// fit finds the columns that the kind must have.
func (d *SlotDecoder) fit(kind SlotKind) error {
	d.places = d.places[:0]
	switch kind {
	case SlotConnections:
		return fit(d, d.conns)
	case SlotDNS:
		return fit(d, d.dns)
	default:
		return fit(d, d.arp)
	}
}

func fit[R any](d *SlotDecoder, columns []column[R]) error {
	for i := range columns {
		c := &columns[i]
		at, err := d.place(c.name)
		if err != nil {
			return err
		}
		want := c.kind
		if want == kindTimeOr0 {
			want = kindTime
		}
		if sp := &d.spots[at]; !sp.known || sp.kind != want {
			return malformed("column %q is of the wrong type", c.name)
		}
		d.places = append(d.places, at)
	}
	return nil
}

// place finds the one column of a name.
func (d *SlotDecoder) place(name string) (int, error) {
	found := -1
	for i := range d.spots {
		switch {
		case string(d.spots[i].name) != name:
		case found >= 0:
			return 0, malformed("column %q is there twice", name)
		default:
			found = i
		}
	}
	if found < 0 {
		return 0, malformed("column %q is missing", name)
	}
	return found, nil
}

// readMetadata reads what the schema says of the record.
func readMetadata(s fbTable, rec *SlotRecord) error {
	first, n := s.vector(2, 4)
	if n > maxMetadata {
		return malformed("the record has %d entries of metadata: at most %d", n, maxMetadata)
	}
	entries := make(map[string]string, n)
	for i := range n {
		kv, _ := s.b.behind(first + 4*i)
		entries[string(kv.text(0))] = string(kv.text(1))
	}
	if err := checkSchema(entries["schema"]); err != nil {
		return err
	}
	rec.Kind, rec.Sensor = SlotKind(entries["kind"]), entries["sensor"]
	if rec.Kind != SlotConnections && rec.Kind != SlotDNS && rec.Kind != SlotARP {
		return malformed("the record's kind is %.64q", rec.Kind)
	}
	var err error
	unsigned := func(name string, most uint64) (v uint64) {
		v, e := strconv.ParseUint(entries[name], 10, 64)
		if (e != nil || v > most) && err == nil {
			err = malformed("%s is %.64q: a number from 0 to %d", name, entries[name], most)
		}
		return v
	}
	rec.Slot, err = strconv.ParseInt(entries["slot"], 10, 64)
	if err != nil || rec.Slot < minSlot || rec.Slot > maxSlot {
		return malformed("slot is %.64q, not the number of a slot", entries["slot"])
	}
	rec.Parts = int(unsigned("parts", maxParts))
	rec.Part = int(unsigned("part", uint64(max(rec.Parts-1, 0))))
	rec.Epoch, rec.Boot, rec.Seq = unsigned("epoch", math.MaxUint64), unsigned("boot", math.MaxUint64), unsigned("seq", math.MaxUint64)
	rec.Received, rec.Lost = unsigned("received", math.MaxUint64), unsigned("lost", math.MaxUint64)
	if rec.Unheard = 0; rec.Kind == SlotDNS {
		rec.Unheard = unsigned("unheard", math.MaxUint64)
	}
	if err == nil && rec.Parts == 0 {
		err = malformed("the slot has no parts")
	}
	return err
}

// checkSchema refuses records of another format, and of a later version of this one.
func checkSchema(schema string) error {
	if schema == slotsSchema {
		return nil
	}
	family, _, _ := strings.Cut(slotsSchema, "/")
	if name, version, ok := strings.Cut(schema, "/"); ok && name == family {
		return fmt.Errorf("%w: schema %.64q, this program knows %q", ErrVersion, name+"/"+version, slotsSchema)
	}
	return malformed("the schema is %.64q, want %q", schema, slotsSchema)
}

// batch reads the header of the record batch: the number of rows, and where the buffers of the columns are.
func (d *SlotDecoder) batch(b fbTable) (rows int, err error) {
	length := b.int(0, 8)
	if length < 0 || length > maxRows {
		return 0, malformed("the record has %d rows: at most %d", length, maxRows)
	}
	if b.has(3) {
		return 0, malformed("the record batch is compressed within")
	}
	const pair = 16 // bytes of a FieldNode and of a Buffer: two numbers
	nodes, n := b.vector(1, pair)
	if n != len(d.spots) {
		return 0, malformed("the record batch has %d columns, its schema %d", n, len(d.spots))
	}
	for i := range d.spots {
		count, _ := b.b.int64(nodes + pair*i)
		if d.spots[i].nulls, _ = b.b.int64(nodes + pair*i + 8); count != length || d.spots[i].nulls < 0 || d.spots[i].nulls > length {
			return 0, malformed("column %d has %d rows with %d nulls, the record %d", i, count, d.spots[i].nulls, length)
		}
	}
	last := &d.spots[len(d.spots)-1]
	buffers, n := b.vector(2, pair)
	if n != last.buffer+last.count {
		return 0, malformed("the record batch has %d buffers, want %d", n, last.buffer+last.count)
	}
	d.bufs = d.bufs[:0]
	for i := range n {
		at, _ := b.b.int64(buffers + pair*i)
		size, _ := b.b.int64(buffers + pair*i + 8)
		if at < 0 || size < 0 || at > maxPlain || size > maxPlain {
			return 0, malformed("buffer %d lies outside of the record", i)
		}
		d.bufs = append(d.bufs, extent{int(at), int(size)})
	}
	return int(length), nil
}

// rows reads the rows of the record.
func (d *SlotDecoder) rows(rec *SlotRecord, body []byte, n int) (err error) {
	rec.Conns, rec.Failed, rec.DNS, rec.ARP = rec.Conns[:0], rec.Failed[:0], rec.DNS[:0], rec.ARP[:0]
	switch rec.Kind {
	case SlotConnections:
		if rec.Conns, err = readRows(d, d.conns, rec.Conns, body, n); err != nil {
			return err
		}
		for i := range rec.Conns {
			if s := &rec.Conns[i]; s.State > models.ConnReset || s.Proto > models.ProtoARP {
				return malformed("row %d: no connection has state %d and protocol %d", i, s.State, s.Proto)
			}
		}
		rec.separate()
	case SlotDNS:
		rec.DNS, err = readRows(d, d.dns, rec.DNS, body, n)
	case SlotARP:
		rec.ARP, err = readRows(d, d.arp, rec.ARP, body, n)
	}
	return err
}

// separate puts the connections that have failed apart.
func (r *SlotRecord) separate() {
	moved := r.Conns[:0]
	for i := range r.Conns {
		if r.Conns[i].Failed {
			r.Failed = append(r.Failed, r.Conns[i])
		} else {
			moved = append(moved, r.Conns[i])
		}
	}
	r.Conns = moved
}

func readRows[R any](d *SlotDecoder, columns []column[R], dst []R, body []byte, n int) ([]R, error) {
	dst = slices.Grow(dst[:0], n)[:n]
	clear(dst)
	for i := range columns {
		sp := &d.spots[d.places[i]]
		if err := columns[i].read(dst, body, sp, d.bufs[sp.buffer:sp.buffer+sp.count]); err != nil {
			return dst[:0], err
		}
	}
	return dst, nil
}

// in is the part of body that an extent of at least size bytes covers.
func (e extent) in(body []byte, size int) ([]byte, bool) {
	if e.size < size || e.at > len(body) || e.size > len(body)-e.at {
		return nil, false
	}
	return body[e.at : e.at+e.size], true
}

// width is the number of bytes of a value, 0 where it is not a whole one or differs.
func (k columnKind) width() int {
	switch k {
	case kindUint8:
		return 1
	case kindUint16:
		return 2
	case kindUint32:
		return 4
	case kindUint64, kindTime, kindTimeOr0:
		return 8
	case kindMAC:
		return len(models.MAC{})
	default:
		return 0
	}
}

// read reads the column's values into rows.
func (c *column[R]) read(rows []R, body []byte, sp *spot, bufs []extent) error {
	n := len(rows)
	if n == 0 {
		return nil
	}
	if sp.nulls > 0 && c.kind != kindTimeOr0 {
		return malformed("column %q has null", c.name)
	}
	if sp.count == 3 {
		return c.readTexts(rows, body, bufs)
	}
	need := n * c.kind.width()
	if c.kind == kindBool {
		need = (n + 7) / 8
	}
	v, ok := bufs[1].in(body, need)
	valid, fine := []byte(nil), true
	if sp.nulls > 0 {
		valid, fine = bufs[0].in(body, (n+7)/8)
	}
	if !ok || !fine {
		return malformed("column %q lies outside of the record", c.name)
	}
	return c.readValues(rows, v, valid)
}

// readValues reads values of a fixed width; a bit of valid that is 0 is null.
func (c *column[R]) readValues(rows []R, v, valid []byte) error {
	le := binary.LittleEndian
	for i := range rows {
		r := &rows[i]
		switch c.kind {
		case kindBool:
			c.set(r, uint64(v[i/8]>>(i%8)&1))
		case kindUint8:
			c.set(r, uint64(v[i]))
		case kindUint16:
			c.set(r, uint64(le.Uint16(v[2*i:])))
		case kindUint32:
			c.set(r, uint64(le.Uint32(v[4*i:])))
		case kindUint64:
			c.set(r, le.Uint64(v[8*i:]))
		case kindMAC:
			copy(c.mac(r)[:], v[len(models.MAC{})*i:])
		default:
			t := int64(le.Uint64(v[8*i:]))
			if valid != nil && valid[i/8]>>(i%8)&1 == 0 {
				t = 0
			}
			if t < minMicros || t > maxMicros {
				return malformed("column %q, row %d: the time lies outside of the years 0 to 9999", c.name, i)
			}
			c.set(r, uint64(t))
		}
	}
	return nil
}

// readTexts reads values of different lengths.
func (c *column[R]) readTexts(rows []R, body []byte, bufs []extent) error {
	offsets, ok := bufs[1].in(body, 4*(len(rows)+1))
	v, fine := bufs[2].in(body, 0)
	if !ok || !fine {
		return malformed("column %q lies outside of the record", c.name)
	}
	from := binary.LittleEndian.Uint32(offsets)
	for i := range rows {
		to := binary.LittleEndian.Uint32(offsets[4*(i+1):])
		if from > to || uint64(to) > uint64(len(v)) {
			return malformed("column %q, row %d lies outside of the record", c.name, i)
		}
		text := v[from:to]
		from = to
		if c.kind == kindBytes {
			if !c.take(&rows[i], text) {
				return malformed("column %q, row %d: %d bytes are too many", c.name, i, len(text))
			}
			continue
		}
		a, ok := parseAddr(text)
		if !ok {
			return malformed("column %q, row %d: %.64q is not an IP address", c.name, i, text)
		}
		*c.addr(&rows[i]) = a
	}
	return nil
}

// SlotAssembler puts the records of a sensor together to slots.
type SlotAssembler struct {
	head SlotRecord // of the last record: all but its rows
	any  bool
	open bool // the slot lacks records
	slot models.SensorSlot
}

// Add takes a sensor's next record. The slot that it completes is valid until the next Add; nil: it completes none. The error is ErrMalformed where
// the record does not follow the one before; then the assembler begins anew with the first record of a slot.
func (a *SlotAssembler) Add(r *SlotRecord) (*models.SensorSlot, error) {
	if err := a.follows(r); err != nil {
		a.any, a.open = false, false
		return nil, err
	}
	if r.Part == 0 {
		var p models.SlotPart
		if len(a.slot.Parts) > 0 {
			p = a.slot.Parts[0]
		}
		p = models.SlotPart{Conns: p.Conns[:0], Failed: p.Failed[:0], ARP: p.ARP[:0], DNS: p.DNS[:0]}
		a.slot = models.SensorSlot{N: r.Slot, Epoch: r.Epoch, Received: r.Received, Lost: r.Lost, Parts: append(a.slot.Parts[:0], p)}
	}
	p := &a.slot.Parts[0]
	p.Conns, p.Failed = append(p.Conns, r.Conns...), append(p.Failed, r.Failed...)
	p.ARP, p.DNS = append(p.ARP, r.ARP...), append(p.DNS, r.DNS...)
	p.Unheard += r.Unheard
	a.head, a.any = *r, true
	a.head.SlotPart = models.SlotPart{}
	if a.open = r.Part < r.Parts-1; a.open {
		return nil, nil //nolint:nilnil // says it
	}
	return &a.slot, nil
}

// follows checks that r is what must come next.
func (a *SlotAssembler) follows(r *SlotRecord) error {
	h := &a.head
	same := r.Sensor == h.Sensor && r.Boot == h.Boot
	switch {
	case r.Part == r.Parts-1 && r.Kind != SlotConnections:
		return malformed("slot %d ends with a record of kind %q", r.Slot, r.Kind)
	case a.open && (!same || r.Seq != h.Seq+1 || r.Part != h.Part+1 || r.Parts != h.Parts || r.Slot != h.Slot || r.Epoch != h.Epoch):
		return malformed("slot %d lacks records from part %d of %d on", h.Slot, h.Part+1, h.Parts)
	case !a.open && r.Part != 0:
		return malformed("slot %d begins with part %d", r.Slot, r.Part)
	case a.any && same && r.Seq != h.Seq+1 && r.Seq != 0:
		return malformed("record %d follows record %d", r.Seq, h.Seq)
	}
	return nil
}

// SlotReader reads the slots of a stream of records, one behind the other, as `analyze --emit slots` writes them.
type SlotReader struct {
	zstd     *zstd.Decoder
	decoder  *SlotDecoder
	assemble SlotAssembler
	rec      SlotRecord
	src      streamSource
}

// NewSlotReader makes a reader. Close frees what it holds.
func NewSlotReader(r io.Reader) (*SlotReader, error) {
	d, err := NewSlotDecoder()
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	return &SlotReader{zstd: z, decoder: d, src: streamSource{r: z}}, nil
}

// Close frees what the reader holds. It does not close what it reads from.
func (r *SlotReader) Close() { r.zstd.Close() }

// Sensor is the name of the sensor of the slot read last.
func (r *SlotReader) Sensor() string { return r.rec.Sensor }

// Next reads a slot, which is valid until the next call. The error is io.EOF where the stream ends behind a slot, ErrVersion or ErrMalformed where it
// cannot be read.
func (r *SlotReader) Next() (*models.SensorSlot, error) {
	for {
		r.src.any = false
		if err := r.decoder.stream(&r.src, &r.rec); err != nil {
			if errors.Is(err, io.EOF) && r.assemble.open {
				return nil, malformed("the stream is cut: slot %d lacks records", r.rec.Slot)
			}
			return nil, err
		}
		if s, err := r.assemble.Add(&r.rec); s != nil || err != nil {
			return s, err
		}
	}
}

// streamSource reads an IPC stream.
type streamSource struct {
	r    io.Reader
	bufs [2][]byte // in turn
	turn int
	any  bool // something of the IPC stream has been read
}

func (s *streamSource) take(n int) ([]byte, error) {
	s.turn ^= 1
	b := slices.Grow(s.bufs[s.turn][:0], n)[:n]
	s.bufs[s.turn] = b
	got, err := io.ReadFull(s.r, b)
	switch {
	case err == nil:
		s.any = true
		return b, nil
	case errors.Is(err, io.EOF) && got == 0 && !s.any:
		return nil, io.EOF
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, malformed("the stream is cut")
	}
	return nil, malformed("the stream cannot be decompressed: %w", err)
}
