// Package models holds the values that cross package borders: packets, connection slots, connections, alerts and
// statistics. It has no behaviour beyond naming, formatting and arithmetic on its own fields, and imports nothing of ours.
//
// Units are the same everywhere: times are capture time in microseconds since the Unix epoch, sizes are bytes, lengths
// "on the wire" exclude the frame check sequence, entropy is in 1e-4 bit per byte. Values that packets make at line rate
// (PacketMeta, ConnSlot) are of fixed size and hold no pointers, so that batches of them cost the collector nothing.
package models

import (
	"fmt"
	"time"
)

// SlotMicros is the length of a connection slot: 40 ms of capture time. It bounds how late a limit can fire, and with
// it the time from a packet to its alert on the page.
const SlotMicros = 40_000

// SetBackSlots is how far the time of a packet may lie behind the open slot (10 s): further, and the clock was set back.
const SetBackSlots = 250

// Slot numbers the connection slot that a capture time falls into; times before the epoch floor towards minus infinity.
func Slot(tsMicros int64) int64 {
	s := tsMicros / SlotMicros
	if tsMicros%SlotMicros < 0 {
		s--
	}
	return s
}

// Micros is a capture time in microseconds since the Unix epoch: a number in memory and in the database, RFC 3339 in UTC
// with six decimals in JSON ("2026-11-24T05:41:33.000001Z"). 0 stands for "none" and is null there.
type Micros int64

// TimeLayout is RFC 3339 with exactly six decimals.
const TimeLayout = "2006-01-02T15:04:05.000000Z07:00"

// Time is the instant in UTC.
func (m Micros) Time() time.Time { return time.UnixMicro(int64(m)).UTC() }

// String is the JSON form without its quotes; "" for none.
func (m Micros) String() string {
	if m == 0 {
		return ""
	}
	return m.Time().Format(TimeLayout)
}

// MarshalJSON writes the instant, or null for none.
func (m Micros) MarshalJSON() ([]byte, error) {
	if m == 0 {
		return []byte("null"), nil
	}
	return []byte(`"` + m.String() + `"`), nil
}

// UnmarshalJSON reads any RFC 3339 instant, or null.
func (m *Micros) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*m = 0
		return nil
	}
	t, err := time.Parse(`"`+time.RFC3339Nano+`"`, string(b))
	if err != nil {
		return fmt.Errorf("models: time %.64s is not RFC 3339: %w", b, err)
	}
	*m = Micros(t.UnixMicro())
	return nil
}
