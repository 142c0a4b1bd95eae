package api

import (
	"encoding/json"
	"math"
	"strconv"
	"time"

	"netlyra/internal/models"
)

// The types of messages from server to client. internal/api/asyncapi.yaml specifies them.
const (
	typeHello      = "hello"
	typeSnapshot   = "snapshot"
	typeResync     = "resync"
	typeBye        = "bye"
	typeStats      = "stats"
	typeAlert      = "alert"
	typeConnection = "connection"
	typeAck        = "ack"
	typeSub        = "sub"
)

const (
	// maxRows and maxRowBytes bound the connections of one message, maxGone those that have left: so many more that a full
	// message is shorter. With stats they stay below maxQueue.
	maxRows     = 1000
	maxRowBytes = 160 << 10
	maxGone     = 2000
	// maxExact is the greatest integer that a JavaScript number holds exactly with all below it; greater are texts.
	maxExact = 1 << 53
)

// message is one encoded envelope; all clients that get it share the bytes.
type message struct {
	typ string
	seq uint64
	gen uint64 // stats, connection, snapshot: the generation that the client knows after it
	b   []byte
}

// envelope writes {"v":1,"type","epoch","seq","ts_us","data"} around data, which is JSON already.
func envelope(typ, epoch string, seq uint64, now time.Time, data []byte) []byte {
	b := make([]byte, 0, len(data)+len(epoch)+96)
	b = append(b, `{"v":1,"type":"`...)
	b = append(b, typ...)
	b = append(b, `","epoch":"`...)
	b = append(b, epoch...)
	b = append(b, `","seq":`...)
	b = strconv.AppendUint(b, seq, 10)
	b = append(b, `,"ts_us":`...)
	b = strconv.AppendInt(b, now.UnixMicro(), 10)
	b = append(b, `,"data":`...)
	b = append(b, data...)
	return append(b, '}')
}

// encode is json.Marshal for texts and for values of this package, on which it cannot fail.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("null")
	}
	return b
}

// rowBlock is the data of a connection message before it is encoded.
type rowBlock struct {
	gen     uint64
	full    bool
	omitted uint64
	rows    []*models.Connection
	gone    []int64
}

// newRowBlock chooses what goes into a message: the latest, single packets without an answer last. The others are counted in omitted.
func newRowBlock(ch *models.ConnectionChanges) rowBlock {
	d := rowBlock{gen: ch.Generation, full: ch.Full}
	size := 0
	for _, single := range []bool{false, true} {
		for i := range ch.Rows {
			c := ch.Rows[i]
			if c.Single() != single {
				continue
			}
			size += rowSize(c)
			if len(d.rows) == maxRows || size > maxRowBytes {
				d.omitted++
				continue
			}
			d.rows = append(d.rows, c)
		}
	}
	if !d.full {
		d.gone = ch.Gone
	}
	return d
}

// empty says that there is nothing to tell.
func (d rowBlock) empty() bool { return !d.full && len(d.rows)+len(d.gone) == 0 && d.omitted == 0 }

// columns encodes rows as one array a field: a third of the bytes of objects, and faster to parse.
func (d rowBlock) columns() []byte {
	b := make([]byte, 0, 256+len(d.rows)*200+len(d.gone)*22)
	b = append(b, `{"gen":`...)
	b = appendExact(b, d.gen)
	b = append(b, `,"full":`...)
	b = strconv.AppendBool(b, d.full)
	b = append(b, `,"omitted":`...)
	b = appendExact(b, d.omitted)
	for _, col := range columns() {
		b = append(b, `,"`...)
		b = append(b, col.name...)
		b = append(b, `":[`...)
		for i, c := range d.rows {
			if i > 0 {
				b = append(b, ',')
			}
			b = col.add(b, c)
		}
		b = append(b, ']')
	}
	b = append(b, `,"gone":[`...)
	for i, id := range d.gone {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendID(b, id)
	}
	return append(b, "]}"...)
}

// rowSize is about how many bytes a row takes; names from packets and of sensors may need escaping, six bytes for one at worst.
func rowSize(c *models.Connection) int {
	const numbers = 170
	size := numbers + len(c.SrcIP) + len(c.DstIP) + len(c.State) + len(c.Proto) + len(c.Alert)
	for _, name := range [...]string{c.SNI, c.Sensor} {
		if plain(name) {
			size += len(name)
		} else {
			size += 6 * len(name)
		}
	}
	return size
}

// column is one field of the rows.
type column struct {
	name string
	add  func(b []byte, c *models.Connection) []byte
}

func columns() []column {
	type C = *models.Connection
	text := func(name string, of func(C) string) column {
		return column{name, func(b []byte, c C) []byte { return appendText(b, of(c)) }}
	}
	number := func(name string, of func(C) uint64) column {
		return column{name, func(b []byte, c C) []byte { return appendExact(b, of(c)) }}
	}
	return []column{
		{"id", func(b []byte, c C) []byte { return appendID(b, c.ID) }},
		text("sensor", func(c C) string { return c.Sensor }),
		text("src_ip", func(c C) string { return c.SrcIP }),
		text("dst_ip", func(c C) string { return c.DstIP }),
		number("src_port", func(c C) uint64 { return uint64(c.SrcPort) }),
		number("dst_port", func(c C) uint64 { return uint64(c.DstPort) }),
		text("proto", func(c C) string { return c.Proto }),
		text("state", func(c C) string { return c.State }),
		text("sni", func(c C) string { return c.SNI }),
		{"first_ts_us", func(b []byte, c C) []byte { return strconv.AppendInt(b, int64(c.FirstTS), 10) }},
		{"last_ts_us", func(b []byte, c C) []byte { return strconv.AppendInt(b, int64(c.LastTS), 10) }},
		number("packets_up", func(c C) uint64 { return c.PacketsUp }),
		number("packets_down", func(c C) uint64 { return c.PacketsDown }),
		number("bytes_up", func(c C) uint64 { return c.BytesUp }),
		number("bytes_down", func(c C) uint64 { return c.BytesDown }),
		text("alert", func(c C) string { return c.Alert }),
		rateColumn("rate_up", func(c C) float64 { return c.RateUp }),
		rateColumn("rate_down", func(c C) float64 { return c.RateDown }),
		{"score", func(b []byte, c C) []byte { return strconv.AppendFloat(b, finite(c.Score), 'g', 6, 64) }},
	}
}

// rateColumn writes whole bytes a second.
func rateColumn(name string, of func(*models.Connection) float64) column {
	return column{name, func(b []byte, c *models.Connection) []byte {
		return strconv.AppendFloat(b, math.Round(finite(of(c))), 'f', -1, 64)
	}}
}

// appendExact writes n as a number, or as text where JavaScript would round it.
func appendExact(b []byte, n uint64) []byte {
	if n <= maxExact {
		return strconv.AppendUint(b, n, 10)
	}
	return append(strconv.AppendUint(append(b, '"'), n, 10), '"')
}

// appendID writes a connection's id as text always, so that its type does not depend on its value.
func appendID(b []byte, id int64) []byte {
	return append(strconv.AppendInt(append(b, '"'), id, 10), '"')
}

// appendText writes s as encoding/json does; texts of letters, digits, dots and colons, nearly all there are, without it.
func appendText(b []byte, s string) []byte {
	if !plain(s) {
		return append(b, encode(s)...)
	}
	return append(append(append(b, '"'), s...), '"')
}

// plain says that JSON, as encoding/json writes it, escapes nothing of s.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// helloData is what the server says first.
type helloData struct {
	Server   string   `json:"server"`
	Version  string   `json:"version"`
	Topics   []string `json:"topics"`    // that can be subscribed to; all are at first
	Rates    []int    `json:"rates"`     // Hz
	Credit   int      `json:"credit"`    // updates that may be under way unacknowledged
	MaxBytes int      `json:"max_bytes"` // of one message, and of what waits for one client
}

// snapshotData is all there is, for a client that starts.
type snapshotData struct {
	Stats      json.RawMessage `json:"stats,omitempty"`
	Connection json.RawMessage `json:"connection,omitempty"`
}

// resyncData tells a client that it has missed something and what to do.
type resyncData struct {
	Reason string `json:"reason"` // "epoch", "too_old", "missed", "triage"
	Missed uint64 `json:"missed"` // alert messages; fetch /api/v1/alerts
}

// byeData is the last message.
type byeData struct {
	Code   int    `json:"code"` // of the close frame that follows
	Reason string `json:"reason"`
}

// clientMessage is all that a client may send.
type clientMessage struct {
	Type  string     `json:"type"` // "hello", "ack", "sub", "bye"
	Seq   uint64     `json:"seq"`  // ack: all up to this have been shown
	Since *sinceData `json:"since"`
	Token string     `json:"token"` // hello, where the connection has not brought it
	subData
}

// sinceData is where a client that comes back left off.
type sinceData struct {
	Epoch string  `json:"epoch"`
	Seq   uint64  `json:"seq"`
	Gen   *uint64 `json:"gen"` // of the last connection message or snapshot; absent: all connections are sent
}

// subData chooses what a client gets; an absent field leaves the choice as it is.
type subData struct {
	Topics []string `json:"topics"`
	Rate   *float64 `json:"rate"` // Hz: up to 1 is once a second, more is as often as there is news, up to 60 times
}
