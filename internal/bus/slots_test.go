package bus

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"netlyra/internal/models"
)

// encodeSlots writes slots as records.
func encodeSlots(t testing.TB, slots ...models.SensorSlot) (records [][]byte) {
	t.Helper()
	e, err := NewSlotEncoder(goldenSensor, 7)
	if err != nil {
		t.Fatal(err)
	}
	for i := range slots {
		if err := e.Encode(&slots[i], func(_ SlotKind, r []byte) error {
			records = append(records, bytes.Clone(r))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return records
}

// readSlots reads a stream to its end.
func readSlots(t testing.TB, stream []byte) (slots []models.SensorSlot, err error) {
	t.Helper()
	r, err := NewSlotReader(bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		s, err := r.Next()
		if errors.Is(err, io.EOF) {
			return slots, nil
		}
		if err != nil {
			return slots, err
		}
		c := *s
		c.Parts = slices.Clone(s.Parts)
		p := &c.Parts[0]
		p.Conns, p.Failed, p.ARP, p.DNS = inOrder(t, p.Conns), inOrder(t, p.Failed), slices.Clone(p.ARP), slices.Clone(p.DNS)
		slots = append(slots, c)
	}
}

// inOrder copies the rows in an order of this test: that of a record means nothing.
func inOrder(t testing.TB, rows []models.ConnSlot) []models.ConnSlot {
	t.Helper()
	type keyed struct {
		key string
		row *models.ConnSlot
	}
	all := make([]keyed, len(rows))
	for i := range rows {
		key, err := binary.Append(nil, binary.BigEndian, &rows[i])
		if err != nil {
			t.Fatal(err)
		}
		all[i] = keyed{string(key), &rows[i]}
	}
	slices.SortFunc(all, func(a, b keyed) int { return strings.Compare(a.key, b.key) })
	var sorted []models.ConnSlot
	for _, k := range all {
		sorted = append(sorted, *k.row)
	}
	return sorted
}

// merged is a slot as a reader sees it: its parts as one, without what does not travel.
func merged(t testing.TB, s models.SensorSlot) models.SensorSlot {
	var one models.SlotPart
	for _, p := range s.Parts {
		one.Conns, one.Failed = append(one.Conns, p.Conns...), append(one.Failed, p.Failed...)
		one.ARP, one.DNS = append(one.ARP, p.ARP...), append(one.DNS, p.DNS...)
		one.Unheard += p.Unheard
	}
	for _, rows := range [][]models.ConnSlot{one.Conns, one.Failed} {
		for i := range rows {
			rows[i].ConnID = 0
		}
	}
	one.Conns, one.Failed = inOrder(t, one.Conns), inOrder(t, one.Failed)
	s.Parts = []models.SlotPart{one}
	return s
}

func randomAddr(r *rand.Rand) models.Addr {
	if r.IntN(2) == 0 {
		return models.Addr{Lo: 0xffff_0000_0000 | uint64(r.Uint32())}
	}
	return models.Addr{Hi: r.Uint64() << r.IntN(64), Lo: r.Uint64() << r.IntN(64)}
}

func randomTime(r *rand.Rand) int64 { return minMicros + r.Int64N(maxMicros-minMicros) }

func randomConn(r *rand.Rand, failed bool) models.ConnSlot {
	b := func() bool { return r.IntN(2) == 0 }
	mac := func() (m models.MAC) {
		for i := range m {
			m[i] = byte(r.Uint32())
		}
		return m
	}
	dir := func() models.SlotDir {
		return models.SlotDir{Packets: r.Uint32(), EntropyN: r.Uint32(), Bytes: r.Uint64(), Payload: r.Uint64(), EntropySum: r.Uint64()}
	}
	return models.ConnSlot{
		Orig: randomAddr(r), Resp: randomAddr(r), OrigPort: uint16(r.Uint32()), RespPort: uint16(r.Uint32()), Proto: models.Proto(r.IntN(257)), VLAN: uint16(r.Uint32()),
		OrigMAC: mac(), RespMAC: mac(), State: models.ConnState(r.IntN(7)), New: b(), Answered: b(), Completed: b(), Through: b(), Finished: b(), Failed: failed, Hello: b(),
		Backward: b(), ICMPType: uint8(r.Uint32()), ICMPCode: uint8(r.Uint32()), ConnID: r.Uint64(), Start: randomTime(r), Before: randomTime(r) * r.Int64N(2),
		First: randomTime(r), Last: randomTime(r), TotalUp: r.Uint64(), TotalDown: r.Uint64(), Up: dir(), Down: dir(),
	}
}

// randomSlot is a slot that a sensor with some workers could have seen.
func randomSlot(seed uint64) models.SensorSlot {
	r := rand.New(rand.NewPCG(seed, 2))
	s := models.SensorSlot{N: minSlot + r.Int64N(maxSlot)*2, Epoch: r.Uint64(), Received: r.Uint64(), Lost: r.Uint64()}
	for range r.IntN(4) {
		var p models.SlotPart
		for range r.IntN(20) {
			p.Conns = append(p.Conns, randomConn(r, false))
		}
		for range r.IntN(5) {
			p.Failed = append(p.Failed, randomConn(r, true))
		}
		for range r.IntN(4) {
			p.ARP = append(p.ARP, models.Observation{TS: randomTime(r), Op: uint16(r.Uint32()), Sender: randomAddr(r), Target: randomAddr(r), MAC: models.MAC{1, 2, byte(r.Uint32())}})
		}
		for range r.IntN(4) {
			q := models.Question{TS: randomTime(r), Client: randomAddr(r), Server: randomAddr(r), QType: uint16(r.Uint32()), Rcode: uint8(r.Uint32()), Answer: r.IntN(2) == 0, Size: r.Uint32()}
			for q.Len = uint8(r.IntN(models.MaxName + 1)); int(q.Len) > 0 && q.Name[q.Len-1] == 0; {
				for i := range q.Len {
					q.Name[i] = byte(r.Uint32()) | 1
				}
			}
			p.DNS = append(p.DNS, q)
		}
		p.Unheard = r.Uint64() >> 8 * r.Uint64N(2)
		s.Parts = append(s.Parts, p)
	}
	return s
}

func TestSlotRoundTrip(t *testing.T) {
	var want []models.SensorSlot
	for seed := range uint64(300) {
		want = append(want, randomSlot(seed))
	}
	want = append(want, models.SensorSlot{N: minSlot}, models.SensorSlot{N: maxSlot, Epoch: math.MaxUint64, Received: math.MaxUint64, Lost: math.MaxUint64})
	got, err := readSlots(t, bytes.Join(encodeSlots(t, want...), nil))
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		want[i] = merged(t, want[i])
	}
	if d := cmp.Diff(want, got, cmp.Comparer(sameRows[models.ConnSlot]), cmp.Comparer(sameRows[models.Observation]), cmp.Comparer(sameRows[models.Question])); d != "" {
		t.Errorf("(-want +got)\n%.3000s", d)
	}
}

// sameRows compares rows of fixed size; none are none, whether there is memory for some or not.
func sameRows[R comparable](a, b []R) bool { return slices.Equal(a, b) }

// A slot of the most packets that one may have, each of its own connection, goes into records of 4,096 rows; and so do the largest of the others.
func TestTheLargestSlot(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	s := models.SensorSlot{N: 5, Parts: make([]models.SlotPart, 2)}
	long := models.Addr{Hi: math.MaxUint64, Lo: math.MaxUint64 >> 1}
	for i := range 1 << 18 {
		c := randomConn(r, false)
		c.Orig, c.Resp = long, long
		p := &s.Parts[i%2]
		p.Conns = append(p.Conns, c)
	}
	for i := range 2 << 12 {
		q := models.Question{TS: int64(i), Client: long, Server: long, Len: models.MaxName}
		for k := range q.Name {
			q.Name[k] = byte(r.Uint32())
		}
		s.Parts[i%2].DNS = append(s.Parts[i%2].DNS, q)
	}
	records := encodeSlots(t, s)
	if want := 1<<18/maxRows + 2<<12/maxRowsDNS; len(records) != want {
		t.Errorf("%d records, want %d", len(records), want)
	}
	most := 0
	for _, r := range records {
		most = max(most, len(r))
	}
	if most > 1<<20 {
		t.Errorf("the largest record has %d bytes: a broker takes 1 MiB unless it is told otherwise", most)
	}
	got, err := readSlots(t, bytes.Join(records, nil))
	if err != nil || len(got) != 1 {
		t.Fatalf("%d slots: %v", len(got), err)
	}
	want := merged(t, s).Parts[0]
	if !slices.Equal(want.Conns, got[0].Parts[0].Conns) || !slices.Equal(want.DNS, got[0].Parts[0].DNS) {
		t.Error("what was read differs from what was written")
	}
}

// A slot of more rows than a stream can carry is refused, not cut.
func TestASlotOfTooManyRows(t *testing.T) {
	e, err := NewSlotEncoder("s", 0)
	if err != nil {
		t.Fatal(err)
	}
	s := models.SensorSlot{Parts: []models.SlotPart{{ARP: make([]models.Observation, maxParts*maxRows)}}}
	if err := e.Encode(&s, func(SlotKind, []byte) error { return errors.New("a record") }); !errors.Is(err, ErrRecord) {
		t.Errorf("%v, want %v", err, ErrRecord)
	}
}

// goldenSlot is the slot of docs/wire-format/slots.zst.
func goldenSlot() models.SensorSlot {
	up := models.SlotDir{Packets: 3, EntropyN: 1, Bytes: 703, Payload: 517, EntropySum: 51234}
	conn := models.ConnSlot{
		Orig: addr("192.0.2.10"), Resp: addr("198.51.100.7"), OrigPort: 51236, RespPort: 443, Proto: models.ProtoTCP, VLAN: 42, OrigMAC: models.MAC{2, 0, 0, 0, 0, 0x0a},
		RespMAC: models.MAC{2, 0, 0, 0, 0, 0xfe}, State: models.ConnEstablished, New: true, Answered: true, Completed: true, Through: true, Hello: true,
		Start: goldenTS, First: goldenTS, Last: goldenTS + 30_000, TotalUp: 517, Up: up, Down: models.SlotDir{Packets: 1, Bytes: 66},
	}
	echo := models.ConnSlot{
		Orig: addr("2001:db8::1"), Resp: addr("2001:db8::2"), Proto: models.ProtoICMPv6, ICMPType: 128, Answered: true, Through: true, Start: goldenTS - 1_000_000,
		Before: goldenTS - 999_000, First: goldenTS + 5, Last: goldenTS + 9, TotalUp: 112, TotalDown: 112, Up: models.SlotDir{Packets: 1, EntropyN: 1, Bytes: 118, Payload: 56, EntropySum: 52265},
		Down: models.SlotDir{Packets: 1, EntropyN: 1, Bytes: 118, Payload: 56, EntropySum: 52265},
	}
	failed := models.ConnSlot{
		Orig: addr("192.0.2.10"), Resp: addr("198.51.100.8"), OrigPort: 51230, RespPort: 22, Proto: models.ProtoTCP, State: models.ConnSynSent, Failed: true,
		Start: goldenTS - 30_000_000, Before: goldenTS - 30_000_000, First: goldenTS - 30_000_000, Last: goldenTS - 30_000_000,
	}
	name := "<img src=x onerror=\"alert(1)\">\x00\x1b[31m\xff.example"
	question := models.Question{TS: goldenTS + 1, Client: addr("192.0.2.10"), Server: addr("192.0.2.53"), QType: 1, Size: 64, Len: uint8(len(name))}
	copy(question.Name[:], name)
	answer := question
	answer.TS, answer.Answer, answer.Rcode, answer.Size = goldenTS+900, true, 3, 120
	return models.SensorSlot{N: goldenTS / models.SlotMicros, Epoch: 1, Received: 51_234, Lost: 12, Parts: []models.SlotPart{
		{Conns: []models.ConnSlot{conn}, Failed: []models.ConnSlot{failed}, DNS: []models.Question{question, answer}, Unheard: 3},
		{Conns: []models.ConnSlot{echo}, ARP: []models.Observation{{TS: goldenTS + 2, Op: 2, Sender: addr("192.0.2.10"), Target: addr("192.0.2.1"), MAC: models.MAC{2, 0, 0, 0, 0, 0x0a}}}},
	}}
}

// The example stream is read as the slot that it was made of, and what is written today is the same but for how well it is compressed.
func TestGoldenSlots(t *testing.T) {
	path := filepath.Join(goldenDir, "slots.zst")
	records := bytes.Join(encodeSlots(t, goldenSlot(), models.SensorSlot{N: goldenTS/models.SlotMicros + 1, Epoch: 1, Received: 51_234, Lost: 12}), nil)
	if *update {
		if err := os.WriteFile(path, records, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want, got := decompress(t, golden), decompress(t, records); !bytes.Equal(want, got) {
		t.Errorf("%s: %d bytes of Arrow, written now %d, or others", path, len(want), len(got))
	}
	slots, err := readSlots(t, golden)
	if err != nil || len(slots) != 2 {
		t.Fatalf("%d slots: %v", len(slots), err)
	}
	if d := cmp.Diff(merged(t, goldenSlot()), slots[0]); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if p := slots[1].Parts[0]; len(p.Conns)+len(p.Failed)+len(p.ARP)+len(p.DNS) != 0 {
		t.Errorf("the empty slot has rows: %+v", p)
	}
}

func decompress(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// describedColumn is a column in docs/wire-format/slots.json.
type describedColumn struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Nullable bool   `json:"nullable,omitempty"`
}

// docs/wire-format/slots.json is the schema that is written, as a library that is not ours reads it.
func TestSlotsSchemaIsDocumented(t *testing.T) {
	type kind struct {
		Metadata []string          `json:"metadata"`
		Columns  []describedColumn `json:"columns"`
	}
	described := struct {
		Schema string            `json:"schema"`
		States []string          `json:"states"`
		Kinds  map[SlotKind]kind `json:"kinds"`
	}{slotsSchema, models.ConnStateNames(), map[SlotKind]kind{}}
	page, err := os.ReadFile("../../docs/wire-format.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range encodeSlots(t, goldenSlot()) {
		in, err := ipc.NewReader(bytes.NewReader(decompress(t, r)))
		if err != nil {
			t.Fatal(err)
		}
		m := in.Schema().Metadata()
		k := kind{Metadata: m.Keys()}
		for _, f := range in.Schema().Fields() {
			k.Columns = append(k.Columns, describedColumn{f.Name, f.Type.String(), f.Nullable})
			if !bytes.Contains(page, []byte("`"+f.Name+"`")) && !strings.HasPrefix(f.Name, "down_") {
				t.Errorf("docs/wire-format.md does not name the column `%s`", f.Name)
			}
		}
		for _, name := range k.Metadata {
			if !bytes.Contains(page, []byte("`"+name+"`")) {
				t.Errorf("docs/wire-format.md does not name the metadata `%s`", name)
			}
		}
		name, _ := m.GetValue("kind")
		described.Kinds[SlotKind(name)] = k
	}
	b, err := json.MarshalIndent(described, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "slots", b)
}

// Arrow's own reader sees the values that were written.
func TestArrowReadsSlots(t *testing.T) {
	slot := goldenSlot()
	for _, r := range encodeSlots(t, slot) {
		in, err := ipc.NewReader(bytes.NewReader(decompress(t, r)))
		if err != nil {
			t.Fatal(err)
		}
		if !in.Next() {
			t.Fatal(in.Err())
		}
		batch := in.RecordBatch()
		b, err := batch.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		m := in.Schema().Metadata()
		switch kind, _ := m.GetValue("kind"); SlotKind(kind) {
		case SlotConnections:
			for _, want := range []string{
				`"orig_ip":"192.0.2.10"`, `"orig_ip":"2001:db8::1"`, `"before":null`, `"up_entropy_sum":51234`, `"conn_established":true`, `"proto":58`, `"down_bytes":118`, `"failed":true`,
			} {
				if !bytes.Contains(b, []byte(want)) {
					t.Errorf("no %s in %s", want, b)
				}
			}
		case SlotDNS:
			if got := as[*array.Binary](t, batch.Column(7)).Value(0); !bytes.Equal(got, slot.Parts[0].DNS[0].Name[:slot.Parts[0].DNS[0].Len]) {
				t.Errorf("name %q", got)
			}
		case SlotARP:
			if got := as[*array.FixedSizeBinary](t, batch.Column(4)).Value(0); !bytes.Equal(got, []byte{2, 0, 0, 0, 0, 0x0a}) {
				t.Errorf("mac %x", got)
			}
		}
		if in.Next() || in.Err() != nil {
			t.Errorf("a second batch, or %v", in.Err())
		}
		in.Release()
	}
}

// as asserts a column's type.
func as[T any](t *testing.T, v any) T {
	t.Helper()
	typed, ok := v.(T)
	if !ok {
		t.Fatalf("a %T", v)
	}
	return typed
}

// forged is an Arrow record of somebody else's.
type forged struct {
	fields   []arrow.Field
	metadata map[string]string
	batches  int
	rows     int
	options  []ipc.Option
	after    []byte                                       // the stream
	fill     func(name string, b array.Builder) (ok bool) // false: a zero
}

// arrowFields are columns as Arrow's own library has them.
func arrowFields[R any](columns []column[R]) (fields []arrow.Field) {
	types := map[columnKind]arrow.DataType{
		kindBool: arrow.FixedWidthTypes.Boolean, kindUint8: arrow.PrimitiveTypes.Uint8, kindUint16: arrow.PrimitiveTypes.Uint16, kindUint32: arrow.PrimitiveTypes.Uint32,
		kindUint64: arrow.PrimitiveTypes.Uint64, kindTime: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"},
		kindTimeOr0: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, kindMAC: &arrow.FixedSizeBinaryType{ByteWidth: 6},
		kindAddr: arrow.BinaryTypes.String, kindBytes: arrow.BinaryTypes.Binary,
	}
	for i := range columns {
		fields = append(fields, arrow.Field{Name: columns[i].name, Type: types[columns[i].kind], Nullable: columns[i].kind == kindTimeOr0})
	}
	return fields
}

// forge makes a record as somebody could who has Arrow and means ill: that of the golden connections, with what change does to it.
func forge(t *testing.T, change func(*forged)) []byte {
	t.Helper()
	f := forged{
		fields: arrowFields(connectionColumns()), batches: 1, rows: 2, fill: func(string, array.Builder) bool { return false },
		metadata: map[string]string{
			"schema": slotsSchema, "kind": "connections", "sensor": "s", "slot": "5", "epoch": "0", "part": "0", "parts": "1", "boot": "0", "seq": "0", "received": "0", "lost": "0",
		},
	}
	change(&f)
	m := arrow.MetadataFrom(f.metadata)
	schema := arrow.NewSchema(f.fields, &m)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for range f.rows {
		for i, c := range f.fields {
			if f.fill(c.Name, b.Field(i)) {
				continue
			}
			if c.Name == "orig_ip" || c.Name == "resp_ip" {
				if err := b.Field(i).AppendValueFromString("192.0.2.1"); err != nil {
					t.Fatal(err)
				}
				continue
			}
			b.Field(i).AppendEmptyValue()
		}
	}
	var out bytes.Buffer
	w := ipc.NewWriter(&out, append(f.options, ipc.WithSchema(schema))...)
	batch := b.NewRecordBatch()
	for range f.batches {
		if err := w.Write(batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return compress(t, append(out.Bytes(), f.after...))
}

func compress(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(b, nil)
}

func (f *forged) column(name string) *arrow.Field {
	return &f.fields[slices.IndexFunc(f.fields, func(c arrow.Field) bool { return c.Name == name })]
}

func TestForeignSlotRecords(t *testing.T) {
	text := func(column, value string) func(*forged) {
		return func(f *forged) {
			f.fill = func(name string, b array.Builder) bool {
				return name == column && b.AppendValueFromString(value) == nil
			}
		}
	}
	meta := func(name, value string) func(*forged) { return func(f *forged) { f.metadata[name] = value } }
	extra := func(dt arrow.DataType) func(*forged) {
		return func(f *forged) {
			f.fields = slices.Insert(f.fields, 3, arrow.Field{Name: "later", Type: dt, Nullable: true})
		}
	}
	typed := func(name string, dt arrow.DataType) func(*forged) {
		return func(f *forged) { f.column(name).Type = dt }
	}
	dns := func(change func(*forged)) func(*forged) {
		return func(f *forged) {
			f.fields, f.metadata["kind"], f.metadata["unheard"], f.metadata["parts"] = arrowFields(dnsColumns()), "dns", "0", "2"
			f.fill = func(name string, b array.Builder) bool {
				return strings.HasSuffix(name, "_ip") && b.AppendValueFromString("::1") == nil
			}
			change(f)
		}
	}
	for _, tc := range []struct {
		name   string
		change func(*forged)
		want   string // in the error; "": it is accepted
	}{
		{"as it is", func(*forged) {}, ""},
		{"a column more, of a fixed width", extra(arrow.PrimitiveTypes.Float64), ""},
		{"a column more, of text", extra(arrow.BinaryTypes.String), ""},
		{"more metadata", meta("color", "blue"), ""},
		{"columns in another order", func(f *forged) { slices.Reverse(f.fields) }, ""},
		{"no rows", func(f *forged) { f.rows = 0 }, ""},
		{"as many rows as may be", func(f *forged) { f.rows = maxRows }, ""},
		{"a row more than may be", func(f *forged) { f.rows = maxRows + 1 }, "rows"},
		{"a later version", meta("schema", "netlyra.slots/2"), "version"},
		{"another schema", meta("schema", "netlyra.alert/1"), "schema"},
		{"an unknown kind", meta("kind", "hosts"), "kind"},
		{"a slot that is no number", meta("slot", "five"), "slot"},
		{"a slot beyond time", meta("slot", "9223372036854775807"), "slot"},
		{"too many parts", meta("parts", "100000"), "parts"},
		{"no parts", meta("parts", "0"), "part"},
		{"a part behind the last", meta("part", "1"), "part"},
		{"no seq", func(f *forged) { delete(f.metadata, "seq") }, "seq"},
		{"a negative count", meta("lost", "-1"), "lost"},
		{"a column of another width", typed("orig_port", arrow.PrimitiveTypes.Uint32), "orig_port"},
		{"a column that is signed", typed("total_up", arrow.PrimitiveTypes.Int64), "total_up"},
		{"text for a number", typed("vlan", arrow.BinaryTypes.String), "vlan"},
		{"milliseconds", typed("start", &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}), "start"},
		{"local time", typed("start", &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "Europe/Berlin"}), "start"},
		{"a hardware address of eight bytes", typed("orig_mac", &arrow.FixedSizeBinaryType{ByteWidth: 8}), "orig_mac"},
		{"a list", typed("proto", arrow.ListOf(arrow.PrimitiveTypes.Uint16)), "nested"},
		{"a dictionary", func(f *forged) {
			f.column("orig_ip").Type = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint8, ValueType: arrow.BinaryTypes.String}
			f.rows = 0
		}, "dictionary"},
		{"a column less", func(f *forged) { f.fields = f.fields[1:] }, "orig_ip"},
		{"a column twice", func(f *forged) { f.column("vlan").Name = "proto" }, "twice"},
		{"null", func(f *forged) {
			f.column("proto").Nullable = true
			f.fill = func(name string, b array.Builder) bool {
				if name == "proto" {
					b.AppendNull()
				}
				return name == "proto"
			}
		}, "null"},
		{"no address", text("resp_ip", "example.com"), "resp_ip"},
		{"an address with a zone", text("resp_ip", "fe80::1%eth0"), "resp_ip"},
		{"an address out of range", text("resp_ip", "192.0.2.256"), "resp_ip"},
		{"an endless address", text("resp_ip", strings.Repeat(":", 100_000)), "resp_ip"},
		{"an unknown state", text("state", "7"), "state"},
		{"an unknown protocol", text("proto", "300"), "protocol"},
		{"two batches", func(f *forged) { f.batches = 2 }, "second"},
		{"no batch", func(f *forged) { f.batches = 0 }, "message"},
		{"something behind", func(f *forged) { f.after = []byte("x") }, "follow"},
		{"compressed within", func(f *forged) { f.options = append(f.options, ipc.WithZstd()); f.rows = 1000 }, "compressed"},
		{"DNS", dns(func(*forged) {}), ""},
		{"DNS without unheard", dns(func(f *forged) { delete(f.metadata, "unheard") }), "unheard"},
		{"a name of the greatest length", dns(func(f *forged) {
			fill := f.fill
			f.fill = func(name string, b array.Builder) bool {
				if name == "name" {
					as[*array.BinaryBuilder](t, b).Append(make([]byte, models.MaxName))
				}
				return name == "name" || fill(name, b)
			}
		}), ""},
		{"a name that is too long", dns(func(f *forged) {
			fill := f.fill
			f.fill = func(name string, b array.Builder) bool {
				if name == "name" {
					as[*array.BinaryBuilder](t, b).Append(make([]byte, models.MaxName+1))
				}
				return name == "name" || fill(name, b)
			}
		}), "name"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, err := NewSlotDecoder()
			if err != nil {
				t.Fatal(err)
			}
			record := forge(t, tc.change)
			var rec SlotRecord
			err = d.Decode(record, &rec)
			_, streamed := readSlots(t, record)
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("%v", err)
			case tc.want == "":
			case err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion):
				t.Errorf("%v, want one that names %q", err, tc.want)
			case streamed == nil:
				t.Errorf("in a stream it is accepted")
			}
			if len(fmt.Sprint(err)) > 400 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// Times beyond the calendar, which damaged captures hold, become the nearest bound; a reader that meets others refuses them.
func TestSlotTimesAreClamped(t *testing.T) {
	s := models.SensorSlot{Parts: []models.SlotPart{{Conns: []models.ConnSlot{{Start: math.MinInt64, Before: math.MaxInt64, First: minMicros, Last: maxMicros + 1}}}}}
	got, err := readSlots(t, bytes.Join(encodeSlots(t, s), nil))
	if err != nil {
		t.Fatal(err)
	}
	c := got[0].Parts[0].Conns[0]
	if c.Start != minMicros || c.Before != maxMicros || c.First != minMicros || c.Last != maxMicros {
		t.Errorf("%+v", c)
	}
	bad := forge(t, func(f *forged) {
		f.fill = func(name string, b array.Builder) bool {
			if name == "last" {
				as[*array.TimestampBuilder](t, b).Append(maxMicros + 1)
			}
			return name == "last"
		}
	})
	if _, err := readSlots(t, bad); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "last") {
		t.Errorf("%v", err)
	}
}

// A stream that is cut anywhere, or lacks a record, says so; only behind a slot it ends in order.
func TestCutSlotStreams(t *testing.T) {
	records := encodeSlots(t, goldenSlot(), goldenSlot())
	whole := bytes.Join(records, nil)
	ends := map[int]bool{0: true, len(whole): true, len(bytes.Join(records[:3], nil)): true}
	for n := range len(whole) + 1 {
		slots, err := readSlots(t, whole[:n])
		if (err == nil) != ends[n] || err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut behind %d of %d bytes: %d slots, %v", n, len(whole), len(slots), err)
		}
	}
	for i := range records {
		rest := slices.Delete(slices.Clone(records), i, i+1)
		if _, err := readSlots(t, bytes.Join(rest, nil)); !errors.Is(err, ErrMalformed) && i > 0 {
			t.Errorf("without record %d of %d: %v", i, len(records), err)
		}
	}
	// Two streams in one: the second begins anew.
	if slots, err := readSlots(t, append(bytes.Clone(whole), whole...)); err != nil || len(slots) != 4 {
		t.Errorf("the stream twice: %d slots, %v", len(slots), err)
	}
	if slots, err := readSlots(t, append(bytes.Clone(whole), "garbage!"...)); !errors.Is(err, ErrMalformed) || len(slots) != 2 {
		t.Errorf("with garbage behind: %d slots, %v", len(slots), err)
	}
}

// Some kilobytes that stand for gigabytes are refused before they take the memory.
func TestSlotBombs(t *testing.T) {
	d, err := NewSlotDecoder()
	if err != nil {
		t.Fatal(err)
	}
	var rec SlotRecord
	big := compress(t, make([]byte, 1<<28))
	t.Logf("%d bytes", len(big))
	if err := d.Decode(big, &rec); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "decompressed") {
		t.Errorf("%v", err)
	}
	if cap(d.plain) > 2*maxPlain {
		t.Errorf("%d bytes of memory are kept", cap(d.plain))
	}
	if _, err := readSlots(t, big); !errors.Is(err, ErrMalformed) {
		t.Errorf("%v", err)
	}
	// A message that claims a body or a header of gigabytes.
	plain := decompress(t, encodeSlots(t, models.SensorSlot{})[0])
	for at := 0; at+8 <= len(plain); at += 4 {
		forged := bytes.Clone(plain)
		copy(forged[at:], []byte{0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f})
		src := sliceSource(forged)
		if err := d.stream(&src, &rec); err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
			t.Errorf("at %d: %v", at, err)
		}
	}
}

// FuzzDecodeSlots: no input panics; what is accepted is written again and reads the same.
func FuzzDecodeSlots(f *testing.F) {
	for _, r := range encodeSlots(f, goldenSlot(), models.SensorSlot{}) {
		f.Add(decompress(f, r))
	}
	d, err := NewSlotDecoder()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		var rec SlotRecord
		src := sliceSource(plain)
		if err := d.stream(&src, &rec); err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
				t.Fatalf("%v", err)
			}
			return
		}
		s := models.SensorSlot{N: rec.Slot, Epoch: rec.Epoch, Received: rec.Received, Lost: rec.Lost, Parts: []models.SlotPart{rec.SlotPart}}
		got, err := readSlots(t, bytes.Join(encodeSlots(t, s), nil))
		if err != nil || len(got) != 1 {
			t.Fatalf("own output: %d slots, %v", len(got), err)
		}
		if d := cmp.Diff(merged(t, s), got[0], cmp.Comparer(sameRows[models.ConnSlot]), cmp.Comparer(sameRows[models.Observation]), cmp.Comparer(sameRows[models.Question])); d != "" {
			t.Fatalf("(-first +second)\n%s", d)
		}
	})
}

// FuzzSlotStream: whatever follows a zstd frame's magic, the reader ends.
func FuzzSlotStream(f *testing.F) {
	records := encodeSlots(f, goldenSlot())
	f.Add(bytes.Join(records, nil))
	f.Add(records[0])
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := readSlots(t, b); err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
			t.Fatalf("%v", err)
		}
	})
}

func BenchmarkDecodeSlots(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, rows := range []int{4, maxRows} {
		b.Run(fmt.Sprint(rows, " rows"), func(b *testing.B) {
			p := models.SlotPart{}
			for range rows {
				c := randomConn(r, false)
				c.Orig, c.Resp = models.Addr{Lo: 0xffff_0000_0000 | uint64(r.Uint32())}, models.Addr{Lo: 0xffff_0000_0000 | uint64(r.Uint32())}
				p.Conns = append(p.Conns, c)
			}
			record := encodeSlots(b, models.SensorSlot{Parts: []models.SlotPart{p}})[0]
			d, err := NewSlotDecoder()
			if err != nil {
				b.Fatal(err)
			}
			var rec SlotRecord
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Decode(record, &rec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
