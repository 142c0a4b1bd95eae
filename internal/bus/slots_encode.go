package bus

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
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
	dns    *table[models.Question]
	arp    *table[models.Observation]
	plain  bytes.Buffer // the IPC stream
	record []byte       // compressed
}

// NewSlotEncoder makes an encoder for a sensor's slots. boot tells this start of the program from others: random, 0 for a file's.
func NewSlotEncoder(sensor string, boot uint64) (*SlotEncoder, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	return &SlotEncoder{
		sensor: strings.ToValidUTF8(sensor, "\ufffd"), boot: boot, zstd: z,
		conns: newTable(connectionColumns(), maxRows), dns: newTable(dnsColumns(), maxRowsDNS), arp: newTable(arpColumns(), maxRows),
	}, nil
}

// Encode writes the records of s and gives them to take, in order. A record is valid until take returns. The first error of take ends it. A slot of
// more than about a million rows, four times what a slot of a file can have, is ErrRecord.
func (e *SlotEncoder) Encode(s *models.SensorSlot, take func(record []byte) error) error {
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

// slotHeader is what the records of a slot have in common.
type slotHeader struct {
	encoder     *SlotEncoder
	slot        *models.SensorSlot
	part, parts int
	unheard     uint64 // on the first record of DNS messages alone, so that a reader may add it up
}

// metadata is the header of the next record.
func (h *slotHeader) metadata(kind SlotKind) *arrow.Metadata {
	s, e := h.slot, h.encoder
	unsigned := func(v uint64) string { return strconv.FormatUint(v, 10) }
	keys := append(make([]string, 0, 12), "schema", "kind", "sensor", "slot", "epoch", "part", "parts", "boot", "seq", "received", "lost")
	values := append(make([]string, 0, 12), slotsSchema, string(kind), e.sensor, strconv.FormatInt(s.N, 10), unsigned(s.Epoch), strconv.Itoa(h.part), strconv.Itoa(h.parts),
		unsigned(e.boot), unsigned(e.seq), unsigned(s.Received), unsigned(s.Lost))
	if kind == SlotDNS {
		keys, values = append(keys, "unheard"), append(values, unsigned(h.unheard))
		h.unheard = 0
	}
	m := arrow.NewMetadata(keys, values)
	return &m
}

// write gives the i-th record of a kind to take.
func write[R any](h *slotHeader, t *table[R], kind SlotKind, i int, take func([]byte) error) error {
	e := h.encoder
	schema := arrow.NewSchema(t.fields, h.metadata(kind))
	h.part++
	e.seq++
	e.plain.Reset()
	w := ipc.NewWriter(&e.plain, ipc.WithSchema(schema))
	if err := w.Write(t.batch(schema, t.part(i))); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	e.record = e.zstd.EncodeAll(e.plain.Bytes(), e.record[:0])
	return take(e.record)
}

// table holds the rows of one kind and the memory of its columns.
type table[R any] struct {
	columns []column[R]
	fields  []arrow.Field
	most    int  // rows in a record
	rows    []*R // of the slot
	store   []columnStore
	arrays  []arrow.Array
}

// columnStore is the memory of a column.
type columnStore struct {
	values  []byte
	offsets []byte // kindAddr, kindBytes: int32 each, one more than rows
	valid   []byte // kindTimeOr0: a bit each
	nulls   int
}

func newTable[R any](columns []column[R], most int) *table[R] {
	t := &table[R]{columns: columns, most: most, store: make([]columnStore, len(columns))}
	for i := range columns {
		c := &columns[i]
		t.fields = append(t.fields, arrow.Field{Name: c.name, Type: c.kind.arrow(), Nullable: c.kind == kindTimeOr0})
	}
	return t
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

// batch makes a record batch of rows. It shares the table's memory.
func (t *table[R]) batch(schema *arrow.Schema, rows []*R) arrow.RecordBatch {
	for i := range t.store {
		t.store[i].begin(t.columns[i].kind, len(rows))
	}
	for at := 0; at < len(rows); at += together {
		some := rows[at:min(at+together, len(rows))]
		for i := range t.columns {
			t.columns[i].append(&t.store[i], some, at)
		}
	}
	t.arrays = t.arrays[:0]
	for i := range t.columns {
		t.arrays = append(t.arrays, t.store[i].array(t.fields[i].Type, len(rows)))
	}
	return array.NewRecordBatch(schema, t.arrays, int64(len(rows)))
}

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

// array wraps the column.
func (s *columnStore) array(t arrow.DataType, rows int) arrow.Array {
	buffers := []*memory.Buffer{nil}
	if s.nulls > 0 {
		buffers[0] = memory.NewBufferBytes(s.valid)
	}
	if len(s.offsets) > 0 {
		buffers = append(buffers, memory.NewBufferBytes(s.offsets))
	}
	buffers = append(buffers, memory.NewBufferBytes(s.values))
	return array.MakeFromData(array.NewData(t, rows, buffers, nil, s.nulls, 0))
}

// arrow is the type in Arrow.
func (k columnKind) arrow() arrow.DataType {
	switch k {
	case kindBool:
		return arrow.FixedWidthTypes.Boolean
	case kindUint8:
		return arrow.PrimitiveTypes.Uint8
	case kindUint16:
		return arrow.PrimitiveTypes.Uint16
	case kindUint32:
		return arrow.PrimitiveTypes.Uint32
	case kindUint64:
		return arrow.PrimitiveTypes.Uint64
	case kindTime, kindTimeOr0:
		return &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	case kindMAC:
		return &arrow.FixedSizeBinaryType{ByteWidth: len(models.MAC{})}
	case kindAddr:
		return arrow.BinaryTypes.String
	default:
		return arrow.BinaryTypes.Binary
	}
}
