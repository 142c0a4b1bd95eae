package bus

import (
	"netlyra/internal/models"
)

// The records of TopicSlots. A slot of a sensor is a run of them: its DNS messages and ARP packets, where it has any, then its connections,
// which are there even if none moved. A record is one Arrow IPC stream with one record batch, the whole as one zstd frame (RFC 8878).
// docs/wire-format.md has the columns.
const (
	slotsSchema = "netlyra.slots/1" // its number rises only when an old reader would misunderstand a record
	maxRows     = 4096              // in a record
	maxRowsDNS  = maxRows / 2       // that are written: with names that do not compress, a record has half a megabyte
)

// SlotKind says what the rows of a record are.
type SlotKind string

// The kinds.
const (
	SlotConnections SlotKind = "connections"
	SlotDNS         SlotKind = "dns"
	SlotARP         SlotKind = "arp"
)

// columnKind is the type of a column.
type columnKind uint8

const (
	kindBool columnKind = iota
	kindUint8
	kindUint16
	kindUint32
	kindUint64
	kindTime    // timestamp[us, UTC]
	kindTimeOr0 // the same; null stands for 0
	kindMAC     // fixed_size_binary(6)
	kindAddr    // utf8, canonical text
	kindBytes   // binary

	numKinds = int(kindBytes) + 1
)

// column is one of a kind's columns, with the way between it and the value R of a row. One of the four pairs counts, as kind says.
type column[R any] struct {
	name  string
	kind  columnKind
	get   func(*R) uint64 // numbers; bool: 0 or 1
	set   func(*R, uint64)
	mac   func(*R) *models.MAC
	addr  func(*R) *models.Addr
	bytes func(*R) []byte // shares the row's memory
	take  func(*R, []byte) bool
}

func truth(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func number8[R any](name string, f func(*R) *uint8) column[R] {
	return column[R]{name: name, kind: kindUint8, get: func(r *R) uint64 { return uint64(*f(r)) }, set: func(r *R, v uint64) { *f(r) = uint8(v) }}
}

func number16[R any](name string, f func(*R) *uint16) column[R] {
	return column[R]{name: name, kind: kindUint16, get: func(r *R) uint64 { return uint64(*f(r)) }, set: func(r *R, v uint64) { *f(r) = uint16(v) }}
}

func number32[R any](name string, f func(*R) *uint32) column[R] {
	return column[R]{name: name, kind: kindUint32, get: func(r *R) uint64 { return uint64(*f(r)) }, set: func(r *R, v uint64) { *f(r) = uint32(v) }}
}

func number64[R any](name string, f func(*R) *uint64) column[R] {
	return column[R]{name: name, kind: kindUint64, get: func(r *R) uint64 { return *f(r) }, set: func(r *R, v uint64) { *f(r) = v }}
}

func boolean[R any](name string, f func(*R) *bool) column[R] {
	return column[R]{name: name, kind: kindBool, get: func(r *R) uint64 { return truth(*f(r)) }, set: func(r *R, v uint64) { *f(r) = v != 0 }}
}

// derived is a flag that follows from the others; readers of our own pass over it.
func derived[R any](name string, f func(*R) bool) column[R] {
	return column[R]{name: name, kind: kindBool, get: func(r *R) uint64 { return truth(f(r)) }, set: func(*R, uint64) {}}
}

func instant[R any](name string, kind columnKind, f func(*R) *int64) column[R] {
	return column[R]{name: name, kind: kind, get: func(r *R) uint64 { return uint64(*f(r)) }, set: func(r *R, v uint64) { *f(r) = int64(v) }}
}

func hardware[R any](name string, f func(*R) *models.MAC) column[R] {
	return column[R]{name: name, kind: kindMAC, mac: f}
}

func address[R any](name string, f func(*R) *models.Addr) column[R] {
	return column[R]{name: name, kind: kindAddr, addr: f}
}

// connectionColumns are those of models.ConnSlot, but ConnID: it means nothing outside of its sensor.
func connectionColumns() []column[models.ConnSlot] {
	type row = models.ConnSlot
	cs := []column[row]{
		address("orig_ip", func(r *row) *models.Addr { return &r.Orig }),
		address("resp_ip", func(r *row) *models.Addr { return &r.Resp }),
		number16("orig_port", func(r *row) *uint16 { return &r.OrigPort }),
		number16("resp_port", func(r *row) *uint16 { return &r.RespPort }),
		number16("proto", func(r *row) *uint16 { return (*uint16)(&r.Proto) }),
		number16("vlan", func(r *row) *uint16 { return &r.VLAN }),
		hardware("orig_mac", func(r *row) *models.MAC { return &r.OrigMAC }),
		hardware("resp_mac", func(r *row) *models.MAC { return &r.RespMAC }),
		number8("state", func(r *row) *uint8 { return (*uint8)(&r.State) }),
		boolean("new", func(r *row) *bool { return &r.New }),
		boolean("answered", func(r *row) *bool { return &r.Answered }),
		boolean("completed", func(r *row) *bool { return &r.Completed }),
		boolean("through", func(r *row) *bool { return &r.Through }),
		boolean("finished", func(r *row) *bool { return &r.Finished }),
		boolean("failed", func(r *row) *bool { return &r.Failed }),
		boolean("hello", func(r *row) *bool { return &r.Hello }),
		boolean("backward", func(r *row) *bool { return &r.Backward }),
		derived("conn_new", func(r *row) bool { return r.Opens() }),
		derived("conn_established", func(r *row) bool { return r.GetsThrough() }),
		number8("icmp_type", func(r *row) *uint8 { return &r.ICMPType }),
		number8("icmp_code", func(r *row) *uint8 { return &r.ICMPCode }),
		instant("start", kindTime, func(r *row) *int64 { return &r.Start }),
		instant("before", kindTimeOr0, func(r *row) *int64 { return &r.Before }),
		instant("first", kindTime, func(r *row) *int64 { return &r.First }),
		instant("last", kindTime, func(r *row) *int64 { return &r.Last }),
		number64("total_up", func(r *row) *uint64 { return &r.TotalUp }),
		number64("total_down", func(r *row) *uint64 { return &r.TotalDown }),
	}
	cs = append(cs, directionColumns("up_", func(r *row) *models.SlotDir { return &r.Up })...)
	return append(cs, directionColumns("down_", func(r *row) *models.SlotDir { return &r.Down })...)
}

func directionColumns(prefix string, dir func(*models.ConnSlot) *models.SlotDir) []column[models.ConnSlot] {
	type row = models.ConnSlot
	return []column[row]{
		number32(prefix+"packets", func(r *row) *uint32 { return &dir(r).Packets }),
		number32(prefix+"entropy_n", func(r *row) *uint32 { return &dir(r).EntropyN }),
		number64(prefix+"bytes", func(r *row) *uint64 { return &dir(r).Bytes }),
		number64(prefix+"payload", func(r *row) *uint64 { return &dir(r).Payload }),
		number64(prefix+"entropy_sum", func(r *row) *uint64 { return &dir(r).EntropySum }),
	}
}

func dnsColumns() []column[models.Question] {
	type row = models.Question
	return []column[row]{
		instant("ts", kindTime, func(r *row) *int64 { return &r.TS }),
		address("client_ip", func(r *row) *models.Addr { return &r.Client }),
		address("server_ip", func(r *row) *models.Addr { return &r.Server }),
		number16("qtype", func(r *row) *uint16 { return &r.QType }),
		number8("rcode", func(r *row) *uint8 { return &r.Rcode }),
		boolean("answer", func(r *row) *bool { return &r.Answer }),
		number32("size", func(r *row) *uint32 { return &r.Size }),
		{
			name: "name", kind: kindBytes, bytes: func(r *row) []byte { return r.Name[:r.Len] },
			take: func(r *row, b []byte) bool {
				r.Len = uint8(copy(r.Name[:], b))
				return len(b) <= models.MaxName
			},
		},
	}
}

func arpColumns() []column[models.Observation] {
	type row = models.Observation
	return []column[row]{
		instant("ts", kindTime, func(r *row) *int64 { return &r.TS }),
		number16("op", func(r *row) *uint16 { return &r.Op }),
		address("sender_ip", func(r *row) *models.Addr { return &r.Sender }),
		address("target_ip", func(r *row) *models.Addr { return &r.Target }),
		hardware("mac", func(r *row) *models.MAC { return &r.MAC }),
	}
}
