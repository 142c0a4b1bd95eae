package bus

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/klauspost/compress/zstd"

	"netlyra/internal/models"
)

// SlotEncoder writes the records of TopicSlots of one sensor, in the form of docs/wire-format.md. It numbers them. It is not for several
// goroutines at once.
type SlotEncoder struct {
	sensor string
	boot   uint64
	seq    uint64
	zstd   *zstd.Encoder
	conns  *table[models.ConnSlot]
	other  []*models.ConnSlot // room to put rows in order
	dns    *table[models.Question]
	arp    *table[models.Observation]
	header *flatbuffers.Builder // of a message
	plain  []byte               // the IPC stream
	record []byte               // compressed
}

// NewSlotEncoder makes an encoder for a sensor's slots. boot tells this start of the program from others: random, 0 for a file's.
func NewSlotEncoder(sensor string, boot uint64) (*SlotEncoder, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	return &SlotEncoder{
		sensor: strings.ToValidUTF8(sensor, "\ufffd"), boot: boot, zstd: z, header: flatbuffers.NewBuilder(1 << 13),
		conns: newTable(connectionColumns(), maxRows), dns: newTable(dnsColumns(), maxRowsDNS), arp: newTable(arpColumns(), maxRows),
	}, nil
}

// Encode writes the records of s and gives them to take, in order, with what their rows are. A record is valid until take returns. The first error of take ends it. A slot of
// more than about a million rows, four times what a slot of a file can have, is ErrRecord.
func (e *SlotEncoder) Encode(s *models.SensorSlot, take func(kind SlotKind, record []byte) error) error {
	e.conns.clear()
	e.dns.clear()
	e.arp.clear()
	unheard := uint64(0)
	for i := range s.Parts {
		p := &s.Parts[i]
		e.dns.add(p.DNS)
		e.arp.add(p.ARP)
		e.conns.add(p.Conns)
		e.conns.add(p.Failed)
		unheard += p.Unheard
	}
	e.alike(e.conns.rows)
	dns, arp, conns := e.dns.records(), e.arp.records(), max(e.conns.records(), 1)
	if unheard > 0 {
		dns = max(dns, 1)
	}
	if dns+arp+conns > maxParts {
		return fmt.Errorf("%w: a slot of %d records, at most %d", ErrRecord, dns+arp+conns, maxParts)
	}
	h := slotHeader{encoder: e, slot: s, parts: dns + arp + conns, unheard: unheard}
	for i := range dns {
		if err := write(&h, e.dns, SlotDNS, i, take); err != nil {
			return err
		}
	}
	for i := range arp {
		if err := write(&h, e.arp, SlotARP, i, take); err != nil {
			return err
		}
	}
	for i := range conns {
		if err := write(&h, e.conns, SlotConnections, i, take); err != nil {
			return err
		}
	}
	return nil
}

// alike puts connections beside each other that have as many packets each way, have payload in the same directions, are both new or neither and
// both TCP or neither, and among those the ones of the same initiator: a row takes a fifth less, and the compressor less time (ADR 9). It is
// a radix sort by two bytes.
func (e *SlotEncoder) alike(rows []*models.ConnSlot) {
	e.other = slices.Grow(e.other[:0], len(rows))[:len(rows)]
	distribute(e.other, rows, func(r *models.ConnSlot) uint8 { return uint8(r.Orig.Lo) })
	distribute(rows, e.other, func(r *models.ConnSlot) uint8 {
		const many = 3 // packets that are not told from more
		key := min(r.Up.Packets, many)<<2 | min(r.Down.Packets, many)
		for _, is := range [...]bool{r.Up.EntropyN > 0, r.Down.EntropyN > 0, r.New, r.Proto == models.ProtoTCP} {
			key = key<<1 | uint32(truth(is))
		}
		return uint8(key)
	})
}

// distribute fills dst with the rows of src in the order of a key. Rows of the same key keep theirs.
func distribute(dst, src []*models.ConnSlot, key func(*models.ConnSlot) uint8) {
	var at [256]int // where the next row of a key goes
	for _, r := range src {
		at[key(r)]++
	}
	sum := 0
	for k, n := range at {
		at[k], sum = sum, sum+n
	}
	for _, r := range src {
		k := key(r)
		dst[at[k]] = r
		at[k]++
	}
}

// slotHeader is what the records of a slot have in common.
type slotHeader struct {
	encoder     *SlotEncoder
	slot        *models.SensorSlot
	part, parts int
	unheard     uint64 // on the first record of DNS messages alone, so that a reader may add it up
}

// metadata is what the schema of the next record says, names and values in turn.
func (h *slotHeader) metadata(kind SlotKind) []string {
	s, e := h.slot, h.encoder
	unsigned := func(v uint64) string { return strconv.FormatUint(v, 10) }
	m := []string{
		"schema", slotsSchema, "kind", string(kind), "sensor", e.sensor, "slot", strconv.FormatInt(s.N, 10), "epoch", unsigned(s.Epoch),
		"part", strconv.Itoa(h.part), "parts", strconv.Itoa(h.parts), "boot", unsigned(e.boot), "seq", unsigned(e.seq),
		"received", unsigned(s.Received), "lost", unsigned(s.Lost),
	}
	if kind == SlotDNS {
		m = append(m, "unheard", unsigned(h.unheard))
		h.unheard = 0
	}
	return m
}

// write gives the i-th record of a kind to take.
func write[R any](h *slotHeader, t *table[R], kind SlotKind, i int, take func(SlotKind, []byte) error) error {
	e := h.encoder
	rows := t.part(i)
	t.fill(rows)
	e.plain = appendMessage(e.plain[:0], e.header, messageSchema, 0, t.schema(e.header, h.metadata(kind)))
	body := t.layOut()
	e.plain = appendMessage(e.plain, e.header, messageBatch, body, t.batch(e.header, len(rows)))
	e.plain = t.appendBody(e.plain)
	e.plain = append(e.plain, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0) // the end of the stream
	h.part++
	e.seq++
	e.record = e.zstd.EncodeAll(e.plain, e.record[:0])
	return take(kind, e.record)
}

// appendMessage frames a message of an IPC stream: a mark, the size of its header, the header, to a multiple of 8. header is in b, a table of
// the kind that is told; body is the size of what will follow.
func appendMessage(dst []byte, b *flatbuffers.Builder, kind byte, body int, header flatbuffers.UOffsetT) []byte {
	b.StartObject(5) // Message
	b.PrependInt64Slot(3, int64(body), 0)
	b.PrependUOffsetTSlot(2, header, 0)
	b.PrependInt16Slot(0, metadataV5, 0)
	b.PrependByteSlot(1, kind, 0)
	b.Finish(b.EndObject())
	raw := b.FinishedBytes()
	dst = binary.LittleEndian.AppendUint32(dst, continuation)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(raw)+padding(len(raw))))
	return appendPadded(dst, raw)
}

// padding is what lacks to a multiple of 8.
func padding(n int) int { return -n & 7 }

func appendPadded(dst, b []byte) []byte {
	var zeros [8]byte
	return append(append(dst, b...), zeros[:padding(len(b))]...)
}

// table holds the rows of one kind and the memory of its columns.
type table[R any] struct {
	columns []column[R]
	most    int  // rows in a record
	rows    []*R // of the slot
	store   []columnStore
	buffers []extent // of the columns, in the body of a record
	offsets []flatbuffers.UOffsetT
}

// columnStore is the memory of a column.
type columnStore struct {
	values  []byte
	offsets []byte // kindAddr, kindBytes: int32 each, one more than rows
	valid   []byte // kindTimeOr0: a bit each
	nulls   int
}

func newTable[R any](columns []column[R], most int) *table[R] {
	return &table[R]{columns: columns, most: most, store: make([]columnStore, len(columns))}
}

func (t *table[R]) clear() { t.rows = t.rows[:0] }

func (t *table[R]) add(rows []R) {
	for i := range rows {
		t.rows = append(t.rows, &rows[i])
	}
}

// records is how many records the rows need.
func (t *table[R]) records() int { return (len(t.rows) + t.most - 1) / t.most }

// part is the rows of the i-th record.
func (t *table[R]) part(i int) []*R {
	return t.rows[min(i*t.most, len(t.rows)):min((i+1)*t.most, len(t.rows))]
}

// together is how many rows are written column by column: so few that they stay in the cache.
const together = 64

// fill writes rows to the columns.
func (t *table[R]) fill(rows []*R) {
	for i := range t.store {
		t.store[i].begin(t.columns[i].kind, len(rows))
	}
	for at := 0; at < len(rows); at += together {
		some := rows[at:min(at+together, len(rows))]
		for i := range t.columns {
			t.columns[i].append(&t.store[i], some, at)
		}
	}
}

// layOut finds a place for the buffers of each column in the body of the record: which values are null, the offsets of those of different lengths,
// the values. It returns the body's size.
func (t *table[R]) layOut() (size int) {
	t.buffers = t.buffers[:0]
	place := func(b []byte) {
		t.buffers = append(t.buffers, extent{size, len(b)})
		size += len(b) + padding(len(b))
	}
	for i := range t.store {
		s := &t.store[i]
		place(s.nullity())
		if t.columns[i].kind.varies() {
			place(s.offsets)
		}
		place(s.values)
	}
	return size
}

// appendBody adds the buffers, as layOut has placed them.
func (t *table[R]) appendBody(dst []byte) []byte {
	for i := range t.store {
		s := &t.store[i]
		dst = appendPadded(dst, s.nullity())
		if t.columns[i].kind.varies() {
			dst = appendPadded(dst, s.offsets)
		}
		dst = appendPadded(dst, s.values)
	}
	return dst
}

// batch writes the header of the record batch: for each column its rows and nulls, then where the buffers are.
func (t *table[R]) batch(b *flatbuffers.Builder, rows int) flatbuffers.UOffsetT {
	b.Reset()
	b.StartVector(16, len(t.store), 8)
	for i := range slices.Backward(t.store) {
		b.PrependInt64(int64(t.store[i].nulls))
		b.PrependInt64(int64(rows))
	}
	nodes := b.EndVector(len(t.store))
	b.StartVector(16, len(t.buffers), 8)
	for _, e := range slices.Backward(t.buffers) {
		b.PrependInt64(int64(e.size))
		b.PrependInt64(int64(e.at))
	}
	buffers := b.EndVector(len(t.buffers))
	b.StartObject(5) // RecordBatch
	b.PrependInt64Slot(0, int64(rows), 0)
	b.PrependUOffsetTSlot(1, nodes, 0)
	b.PrependUOffsetTSlot(2, buffers, 0)
	return b.EndObject()
}

// schema writes the schema of the table's columns with metadata.
func (t *table[R]) schema(b *flatbuffers.Builder, metadata []string) flatbuffers.UOffsetT {
	b.Reset()
	b.StartVector(4, 0, 4)
	children := b.EndVector(0)
	var types [numKinds]arrowType // which columns share
	t.offsets = t.offsets[:0]
	for i := range t.columns {
		c := &t.columns[i]
		if types[c.kind].table == 0 {
			types[c.kind] = c.kind.write(b)
		}
		t.offsets = append(t.offsets, c.field(b, types[c.kind], children))
	}
	fields := appendOffsets(b, t.offsets)
	t.offsets = t.offsets[:0]
	for i := 0; i < len(metadata); i += 2 {
		name, value := b.CreateString(metadata[i]), b.CreateString(metadata[i+1])
		b.StartObject(2) // KeyValue
		b.PrependUOffsetTSlot(0, name, 0)
		b.PrependUOffsetTSlot(1, value, 0)
		t.offsets = append(t.offsets, b.EndObject())
	}
	entries := appendOffsets(b, t.offsets)
	b.StartObject(4) // Schema; absent is little-endian
	b.PrependUOffsetTSlot(1, fields, 0)
	b.PrependUOffsetTSlot(2, entries, 0)
	return b.EndObject()
}

func appendOffsets(b *flatbuffers.Builder, offsets []flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	b.StartVector(4, len(offsets), 4)
	for _, at := range slices.Backward(offsets) {
		b.PrependUOffsetT(at)
	}
	return b.EndVector(len(offsets))
}

// field writes the column's field of a schema.
func (c *column[R]) field(b *flatbuffers.Builder, typ arrowType, children flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	name := b.CreateString(c.name)
	b.StartObject(7) // Field
	b.PrependUOffsetTSlot(0, name, 0)
	b.PrependUOffsetTSlot(3, typ.table, 0)
	b.PrependUOffsetTSlot(5, children, 0)
	b.PrependBoolSlot(1, c.kind == kindTimeOr0, false)
	b.PrependByteSlot(2, typ.kind, 0)
	return b.EndObject()
}

// arrowType is a type in Arrow: which it is, and the table that has the rest.
type arrowType struct {
	kind  byte
	table flatbuffers.UOffsetT
}

// write writes the type of a kind of column.
func (k columnKind) write(b *flatbuffers.Builder) arrowType {
	kind := byte(0)
	switch k {
	case kindBool:
		kind = typeBool
		b.StartObject(0)
	case kindTime, kindTimeOr0:
		utc := b.CreateString("UTC")
		kind = typeTimestamp
		b.StartObject(2)
		b.PrependUOffsetTSlot(1, utc, 0)
		b.PrependInt16Slot(0, unitMicrosecond, 0)
	case kindMAC:
		kind = typeFixedBinary
		b.StartObject(1)
		b.PrependInt32Slot(0, int32(k.width()), 0)
	case kindAddr:
		kind = typeUTF8
		b.StartObject(0)
	case kindBytes:
		kind = typeBinary
		b.StartObject(0)
	case kindUint8, kindUint16, kindUint32, kindUint64:
		kind = typeInt
		b.StartObject(2) // absent is unsigned
		b.PrependInt32Slot(0, int32(8*k.width()), 0)
	}
	return arrowType{kind, b.EndObject()}
}

// varies says whether values have different lengths.
func (k columnKind) varies() bool { return k == kindAddr || k == kindBytes }

// begin empties the store for a number of rows.
func (s *columnStore) begin(kind columnKind, rows int) {
	s.values, s.offsets, s.valid, s.nulls = s.values[:0], s.offsets[:0], s.valid[:0], 0
	switch kind {
	case kindBool:
		s.values = zeroed(s.values, (rows+7)/8)
	case kindAddr, kindBytes:
		s.offsets = binary.LittleEndian.AppendUint32(s.offsets, 0)
	case kindTimeOr0:
		s.valid = zeroed(s.valid, (rows+7)/8)
	default:
	}
}

func zeroed(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	b = b[:n]
	clear(b)
	return b
}

// append adds rows, the first of which is the at-th of the batch.
func (c *column[R]) append(s *columnStore, rows []*R, at int) {
	le := binary.LittleEndian
	switch c.kind {
	case kindBool:
		for i, r := range rows {
			s.values[(at+i)/8] |= byte(c.get(r)) << ((at + i) % 8)
		}
	case kindUint8:
		for _, r := range rows {
			s.values = append(s.values, byte(c.get(r)))
		}
	case kindUint16:
		for _, r := range rows {
			s.values = le.AppendUint16(s.values, uint16(c.get(r)))
		}
	case kindUint32:
		for _, r := range rows {
			s.values = le.AppendUint32(s.values, uint32(c.get(r)))
		}
	case kindUint64:
		for _, r := range rows {
			s.values = le.AppendUint64(s.values, c.get(r))
		}
	case kindTime, kindTimeOr0:
		c.appendTimes(s, rows, at)
	case kindMAC:
		for _, r := range rows {
			s.values = append(s.values, c.mac(r)[:]...)
		}
	case kindAddr:
		for _, r := range rows {
			s.values = appendAddr(s.values, *c.addr(r))
			s.offsets = le.AppendUint32(s.offsets, uint32(len(s.values)))
		}
	case kindBytes:
		for _, r := range rows {
			s.values = append(s.values, c.bytes(r)...)
			s.offsets = le.AppendUint32(s.offsets, uint32(len(s.values)))
		}
	}
}

// appendTimes adds the times of rows. One beyond the years 0 to 9999 becomes the nearest bound, as in packets.
func (c *column[R]) appendTimes(s *columnStore, rows []*R, at int) {
	for i, r := range rows {
		t := min(max(int64(c.get(r)), minMicros), maxMicros)
		s.values = binary.LittleEndian.AppendUint64(s.values, uint64(t))
		if c.kind == kindTimeOr0 {
			if t == 0 {
				s.nulls++
			} else {
				s.valid[(at+i)/8] |= 1 << ((at + i) % 8)
			}
		}
	}
}

// nullity is which values there are, a bit each; nothing where all are.
func (s *columnStore) nullity() []byte {
	if s.nulls == 0 {
		return nil
	}
	return s.valid
}
