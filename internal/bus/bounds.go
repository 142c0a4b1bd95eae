package bus

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"netlyra/internal/models"
)

// Bounds of the JSON records. Whoever may write to the broker may have written a record, so what is beyond them is malformed, and an encoder writes
// nothing that is: a counter stops at its end, a text is cut. docs/wire-format has them as well.
const (
	maxJSON     = 1 << 20 // bytes of a record
	maxHosts    = 1000    // of a record that is written: 0.3 MB
	maxList     = 10_000  // hosts or seconds of a record that is read
	maxKinds    = 1024    // interfaces of a sensor, and reasons for which it has lost something
	maxFew      = 64      // members of a list or an object in an alert, and of a detector's figures
	maxName     = 255     // bytes of a name, an id, a word or a unit
	maxText     = 1024    // bytes of a text that comes from the network or from whoever has set the sensor up
	maxSentence = 4096    // bytes
	// maxCount is the largest whole number that every reader of JSON has exactly (RFC 8259, section 6), and small enough that a thousand add up. In bytes
	// it takes 100 Gbit/s a week.
	maxCount = 1 << 53
	// ahead is how far a time may lie ahead of the reader's clock: clocks and time zones that are set wrong differ by less.
	ahead = 24 * time.Hour
)

// What is said of a member that is beyond its bounds.
const (
	notAddress = "is not an IP address"
	notMAC     = "is not a hardware address"
	notProto   = "is neither a protocol's name nor its number"
	notFlags   = "is not a list of TCP flags"
	notShare   = "is not a number from 0 to 1"
	notListed  = "is not in the list"
	notName    = "is not a name of 1 to 255 bytes without control characters"
	notWord    = "has more than 255 bytes, or control characters"
	notCount   = "is beyond 2^53"
	notText    = "has more than 1,024 bytes, or control characters"
	notRate    = "is not a number from 0 to 2^53"
	isMissing  = "is missing"
	isNegative = "is negative"
	isLate     = "is before the year 0, or more than a day ahead of the clock"
	isLong     = "is too long"
	hasMany    = "has too many members"
)

// IsName says whether a text can be the key of a record, and a sensor's name or an alert's id: 1 to 255 bytes of UTF-8 without control characters.
func IsName(s string) bool { return s != "" && isWord(s) && utf8.ValidString(s) }

// isWord says whether a text of JSON is a name or nothing.
func isWord(s string) bool { return len(s) <= maxName && !hasControl(s) }

// hasControl says whether a text has control characters (Unicode, category Cc).
func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }

// isMAC says whether a text is a hardware address, or nothing.
func isMAC(s string) bool {
	_, ok := parseMAC(s)
	return ok || s == ""
}

// isProto says whether a text is what a protocol is called in records: others would not be found by it.
func isProto(s string) bool {
	p, ok := models.ParseProto(s)
	return ok && p.String() == s
}

// isFlags says whether a text is a list of TCP flags.
func isFlags(s string) bool {
	_, ok := parseFlags([]byte(s))
	return ok && len(s) <= len("ACK,CWR,ECE,FIN,PSH,RST,SYN,URG")
}

// isShare is false for what is not a number, too.
func isShare(v float64) bool { return v >= 0 && v <= 1 }

// late says whether a time, if there is one, is none that a record can have: latest is the last that one can.
func late(t, latest models.Micros) bool { return t < minMicros || t > latest }

// latest is the last time that a record can have which is read at a time of the wall clock.
func latest(now time.Time) models.Micros {
	return clampMicros(models.Micros(now.Add(ahead).UnixMicro()))
}

// count is a counter of a record.
type count struct {
	name string
	n    *uint64
}

// saturate keeps counters from going beyond their end.
func saturate(counts []count) {
	for _, c := range counts {
		*c.n = min(*c.n, maxCount)
	}
}

// beyond is the fault of the first counter that is beyond its end.
func beyond(kind string, counts []count) error {
	for _, c := range counts {
		if *c.n > maxCount {
			return fail(kind, c.name, notCount)
		}
	}
	return nil
}

// clampMicros is a time that RFC 3339 can write.
func clampMicros(t models.Micros) models.Micros { return min(max(t, minMicros), maxMicros) }

// required is a time that a record has to have: 0, with which captures may begin, would be none, and is written as the microsecond after it.
func required(t models.Micros) models.Micros {
	if t == 0 {
		return 1
	}
	return clampMicros(t)
}

// clip is a text in UTF-8 of at most so many bytes.
func clip(s string, most int) string {
	if len(s) <= most && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s { // U+FFFD for each byte that is not UTF-8
		if b.Len()+utf8.RuneLen(r) > most {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// printable is a text in UTF-8 of at most so many bytes, with U+FFFD in place of control characters.
func printable(s string, most int) string {
	if hasControl(s) {
		s = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return utf8.RuneError
			}
			return r
		}, s)
	}
	return clip(s, most)
}
