package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"netlyra/internal/models"
)

// The errors of records that cannot be read; such a record belongs into TopicDLQ.
var (
	// ErrMalformed: the record is not what docs/wire-format.md says.
	ErrMalformed = errors.New("bus: malformed record")
	// ErrVersion: the record is of a version of the format that this program does not know.
	ErrVersion = errors.New("bus: unknown version of the record's format")
)

// version is the version of the format that is read and written; a record without "v" is of version 1.
const version = 1

// PacketRecord is one record of TopicPackets.
type PacketRecord struct {
	Packet    models.PacketMeta // its texts are in the arena
	Sensor    models.Text       // in the arena; empty if the record names none: its key does
	Watermark bool              // no packet: only Packet.TS and Mark count
	Mark      Watermark         // of a watermark; members that the record lacks are 0
}

// DecodePacket reads a record of TopicPackets into rec and appends its texts to arena. Members that it does not know are
// skipped; the error is ErrVersion or ErrMalformed, names the member, and leaves the arena's length as it was.
func DecodePacket(b []byte, rec *PacketRecord, arena []byte) ([]byte, error) {
	*rec = PacketRecord{}
	d := decoder{scanner: scanner{b: b}, rec: rec, arena: arena}
	if err := d.object(); err != nil {
		return arena, err
	}
	return d.arena, nil
}

// The members that every packet has, as bits; names in the order of the bits.
const (
	hasTS = 1 << iota
	hasSrcIP
	hasDstIP
	hasSrcPort
	hasDstPort
	hasProto
	hasPayloadLen
	hasFlags
	hasEntropy
	hasAll = 1<<iota - 1
)

func requiredNames() []string {
	return []string{"ts", "src_ip", "dst_ip", "src_port", "dst_port", "proto", "payload_len", "tcp_flags", "entropy"}
}

type decoder struct {
	scanner
	rec   *PacketRecord
	arena []byte
	has   int
}

// object reads the whole record.
func (d *decoder) object() error {
	if !d.take('{') {
		return d.fail("record", "is not a JSON object")
	}
	if !d.take('}') {
		for {
			if err := d.member(); err != nil {
				return err
			}
			if d.take('}') {
				break
			}
			if !d.take(',') {
				return d.fail("record", "lacks a comma between two members")
			}
		}
	}
	if d.space(); d.i < len(d.b) {
		return d.fail("record", "goes on after its object")
	}
	need := hasAll
	if d.rec.Watermark {
		need = hasTS
		d.rec.Mark.TS = models.Micros(d.rec.Packet.TS)
	}
	for bit, name := range requiredNames() {
		if need&^d.has>>bit&1 == 1 {
			return d.fail(name, "is missing")
		}
	}
	return nil
}

// member reads a name and its value; null is as if the member were not there.
func (d *decoder) member() error {
	name, err := d.str("a member's name")
	if err != nil {
		return err
	}
	if !d.take(':') {
		return d.fail(string(name), "has no value")
	}
	if d.null() {
		return nil
	}
	return d.value(name)
}

// value reads the value of one member.
func (d *decoder) value(name []byte) (err error) {
	p := &d.rec.Packet
	switch string(name) {
	case "ts":
		d.has |= hasTS
		p.TS, err = d.time("ts")
	case "src_ip":
		d.has |= hasSrcIP
		p.Src, err = d.addr("src_ip")
	case "dst_ip":
		d.has |= hasDstIP
		p.Dst, err = d.addr("dst_ip")
	case "src_port":
		d.has |= hasSrcPort
		p.SrcPort, err = number[uint16](d, "src_port")
	case "dst_port":
		d.has |= hasDstPort
		p.DstPort, err = number[uint16](d, "dst_port")
	case "proto":
		d.has |= hasProto
		p.Proto, err = d.proto()
	case "payload_len":
		d.has |= hasPayloadLen
		p.PayloadLen, err = number[uint32](d, "payload_len")
	case "tcp_flags":
		d.has |= hasFlags
		p.Flags, err = d.flags()
	case "entropy":
		d.has |= hasEntropy
		p.Entropy, err = d.entropy()
	default:
		err = d.optional(name)
	}
	return err
}

// optional reads the value of a member that need not be there, or that nobody knows.
func (d *decoder) optional(name []byte) (err error) {
	p := &d.rec.Packet
	switch string(name) {
	case "v":
		err = d.version()
	case "watermark":
		d.rec.Watermark, err = d.bool("watermark")
	case "sensor":
		d.rec.Sensor, err = d.text("sensor")
	case "slot":
		d.rec.Mark.Slot, err = d.slot()
	case "received":
		d.rec.Mark.Received, err = number[uint64](d, "received")
	case "lost":
		d.rec.Mark.Lost, err = number[uint64](d, "lost")
	case "epoch":
		d.rec.Mark.Epoch, err = number[uint64](d, "epoch")
	case "conn_new":
		p.ConnNew, err = d.bool("conn_new")
	case "conn_established":
		p.ConnEstablished, err = d.bool("conn_established")
	case "dir":
		p.Dir, err = d.dir()
	case "conn_start":
		p.ConnStart, err = d.time("conn_start")
	case "wire_len":
		p.WireLen, err = number[uint32](d, "wire_len")
	case "vlan":
		p.VLAN, err = number[uint16](d, "vlan")
	case "inner_vlan":
		p.InnerVLAN, err = number[uint16](d, "inner_vlan")
	case "src_mac":
		p.SrcMAC, err = d.mac("src_mac")
	case "dst_mac":
		p.DstMAC, err = d.mac("dst_mac")
	case "frag":
		p.Frag, err = d.frag()
	case "nesting":
		p.Nesting, err = number[uint8](d, "nesting")
	case "icmp_type":
		p.ICMPType, err = number[uint8](d, "icmp_type")
	case "icmp_code":
		p.ICMPCode, err = number[uint8](d, "icmp_code")
	case "arp_op":
		p.ARPOp, err = number[uint16](d, "arp_op")
	case "arp_sender_mac":
		p.ARPSenderMAC, err = d.mac("arp_sender_mac")
	case "arp_target_mac":
		p.ARPTargetMAC, err = d.mac("arp_target_mac")
	case "dns_question":
		p.DNSQuestion, err = d.text("dns_question")
	case "dns_qtype":
		p.DNSQType, err = number[uint16](d, "dns_qtype")
	case "dns_rcode":
		p.DNSAnswer = true
		p.DNSRcode, err = number[uint8](d, "dns_rcode")
	case "tls_sni":
		p.SNI, err = d.text("tls_sni")
	case "tls_ja4":
		p.JA4, err = d.text("tls_ja4")
	default:
		err = d.skip(name)
	}
	return err
}

func (d *decoder) version() error {
	v, err := number[uint32](d, "v")
	if err == nil && v != version {
		return fmt.Errorf("%w: %d, this program knows %d", ErrVersion, v, version)
	}
	return err
}

func (d *decoder) time(name string) (int64, error) {
	s, err := d.str(name)
	if err != nil {
		return 0, err
	}
	if t, ok := parseStamp(s); ok {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339Nano, string(s))
	if err != nil || t.UnixMicro() < minMicros || t.UnixMicro() > maxMicros {
		return 0, d.fail(name, "is not an RFC 3339 time")
	}
	return t.UnixMicro(), nil
}

// parseStamp reads the form that stamp writes; anything else is not ok.
func parseStamp(s []byte) (micros int64, ok bool) {
	const form = "0000-00-00T00:00:00.000000Z"
	if len(s) != len(form) {
		return 0, false
	}
	for i := range len(form) {
		if form[i] == '0' && (s[i] < '0' || s[i] > '9') || form[i] != '0' && s[i] != form[i] {
			return 0, false
		}
	}
	digits := func(from, to int) (n int) {
		for _, c := range s[from:to] {
			n = 10*n + int(c-'0')
		}
		return n
	}
	year, month, day := digits(0, 4), digits(5, 7), digits(8, 10)
	hour, minute, second := digits(11, 13), digits(14, 16), digits(17, 19)
	if month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if t.Day() != day {
		return 0, false // February 30th
	}
	return t.Unix()*secondMicros + int64(digits(20, 26)), true
}

func (d *decoder) addr(name string) (models.Addr, error) {
	s, err := d.str(name)
	if err != nil {
		return models.Addr{}, err
	}
	a, ok := parseAddr(s)
	if !ok {
		return a, d.fail(name, "is not an IP address")
	}
	return a, nil
}

// parseAddr reads an IP address without a zone.
func parseAddr(text []byte) (models.Addr, bool) {
	if a, ok := parseAddr4(text); ok {
		return a, true
	}
	if a, ok := parseAddr6(text); ok {
		return a, true
	}
	const longest = 45 // bytes: an IPv4 address mapped, in full
	if len(text) > longest {
		return models.Addr{}, false
	}
	a, err := netip.ParseAddr(string(text))
	return models.AddrFromNetip(a), err == nil && a.Zone() == ""
}

// parseAddr4 reads a dotted IPv4 address; anything else is not ok.
func parseAddr4(s []byte) (models.Addr, bool) {
	var b [4]byte
	n, octet, digits := 0, 0, 0
	for _, c := range s {
		switch {
		case c >= '0' && c <= '9' && (digits == 0 || octet > 0):
			octet = 10*octet + int(c-'0')
			digits++
			if octet > 255 {
				return models.Addr{}, false
			}
		case c == '.' && digits > 0 && n < 3:
			b[n] = byte(octet)
			n, octet, digits = n+1, 0, 0
		default:
			return models.Addr{}, false
		}
	}
	if n != 3 || digits == 0 {
		return models.Addr{}, false
	}
	b[3] = byte(octet)
	return models.AddrFrom4(b[:]), true
}

// parseAddr6 reads an IPv6 address in hexadecimal (RFC 4291, section 2.2, forms 1 and 2); anything else is not ok.
// netip reads the same and more, but costs an allocation.
func parseAddr6(s []byte) (models.Addr, bool) {
	var groups [8]uint16
	n, gap, i := 0, -1, 0
	if bytes.HasPrefix(s, []byte("::")) {
		gap, i = 0, 2
	}
	for i < len(s) {
		v, digits := 0, 0
		for ; i < len(s) && digits < 5 && hexValue(s[i]) >= 0; i++ {
			v = v<<4 | hexValue(s[i])
			digits++
		}
		if digits == 0 || digits > 4 || n == len(groups) {
			return models.Addr{}, false
		}
		groups[n] = uint16(v)
		n++
		if i == len(s) {
			break
		}
		if s[i] != ':' || i+1 == len(s) {
			return models.Addr{}, false
		}
		if i++; s[i] == ':' {
			if gap >= 0 {
				return models.Addr{}, false
			}
			gap = n
			i++
		}
	}
	if gap < 0 && n < len(groups) || gap >= 0 && n == len(groups) {
		return models.Addr{}, false
	}
	if gap >= 0 { // what follows the gap moves to the end
		copy(groups[len(groups)-(n-gap):], groups[gap:n])
		clear(groups[gap : len(groups)-(n-gap)])
	}
	var b [16]byte
	for k, g := range groups {
		b[2*k], b[2*k+1] = byte(g>>8), byte(g)
	}
	return models.AddrFrom16(b[:]), true
}

func (d *decoder) proto() (models.Proto, error) {
	s, err := d.str("proto")
	if err != nil {
		return 0, err
	}
	switch string(s) {
	case "TCP":
		return models.ProtoTCP, nil
	case "UDP":
		return models.ProtoUDP, nil
	}
	p, ok := models.ParseProto(string(s))
	if !ok {
		return 0, d.fail("proto", "is neither a protocol's name nor its number")
	}
	return p, nil
}

func (d *decoder) flags() (f models.TCPFlags, err error) {
	s, err := d.str("tcp_flags")
	if err != nil {
		return 0, err
	}
	f, ok := parseFlags(s)
	if !ok {
		return 0, d.fail("tcp_flags", notFlags)
	}
	return f, nil
}

// parseFlags reads TCP flags with commas between them; anything else is not ok.
func parseFlags(s []byte) (f models.TCPFlags, ok bool) {
	for len(s) > 0 {
		name, rest, more := bytes.Cut(s, []byte{','})
		bit := flagBit(name)
		if bit == 0 || more && len(rest) == 0 {
			return 0, false
		}
		f |= bit
		s = rest
	}
	return f, true
}

func flagBit(name []byte) models.TCPFlags {
	for bit := models.FIN; bit != 0; bit <<= 1 {
		if string(name) == bit.String() {
			return bit
		}
	}
	return 0
}

// entropy reads bits per byte, rounded to 1e-4.
func (d *decoder) entropy() (uint32, error) {
	s := d.numeral()
	if len(s) == len("0.0000") && s[1] == '.' {
		n := uint32(s[0] - '0')
		for _, c := range s[2:] {
			if c < '0' || c > '9' {
				n = math.MaxUint32
				break
			}
			n = 10*n + uint32(c-'0')
		}
		if n <= 80_000 {
			return n, nil
		}
	}
	v, err := strconv.ParseFloat(string(s), 64)
	if err != nil || !validNumber(s) || v < 0 || v > 8 {
		return 0, d.fail("entropy", "is not a number from 0 to 8")
	}
	return uint32(math.Round(v * 10_000)), nil
}

func (d *decoder) dir() (models.Dir, error) {
	s, err := d.str("dir")
	switch {
	case err != nil:
		return 0, err
	case string(s) == "orig":
		return models.DirOrig, nil
	case string(s) == "resp":
		return models.DirResp, nil
	}
	return 0, d.fail("dir", `is neither "orig" nor "resp"`)
}

func (d *decoder) frag() (models.Frag, error) {
	s, err := d.str("frag")
	switch {
	case err != nil:
		return 0, err
	case string(s) == "first":
		return models.FragFirst, nil
	case string(s) == "later":
		return models.FragLater, nil
	}
	return 0, d.fail("frag", `is neither "first" nor "later"`)
}

func (d *decoder) mac(name string) (models.MAC, error) {
	s, err := d.str(name)
	if err != nil {
		return models.MAC{}, err
	}
	m, ok := parseMAC(s)
	if !ok {
		return m, d.fail(name, "is not a MAC address")
	}
	return m, nil
}

// parseMAC reads a hardware address with colons; anything else is not ok.
func parseMAC[T string | []byte](s T) (m models.MAC, ok bool) {
	if len(s) != len("00:00:00:00:00:00") {
		return m, false
	}
	for i := range m {
		hi, lo := hexValue(s[3*i]), hexValue(s[3*i+1])
		if hi < 0 || lo < 0 || i < 5 && s[3*i+2] != ':' {
			return models.MAC{}, false
		}
		m[i] = byte(hi<<4 | lo)
	}
	return m, true
}

func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// text reads a string into the arena.
func (d *decoder) text(name string) (models.Text, error) {
	s, err := d.str(name)
	if err != nil {
		return models.Text{}, err
	}
	if len(s) > math.MaxUint16 || len(d.arena) > math.MaxUint32-len(s) {
		return models.Text{}, d.fail(name, "is too long")
	}
	t := models.Text{Off: uint32(len(d.arena)), Len: uint16(len(s))}
	if t.Len == 0 {
		return models.Text{}, nil
	}
	d.arena = append(d.arena, s...)
	return t, nil
}

// The numbers of the slots that a time in microseconds can fall into.
const (
	minSlot = math.MinInt64/models.SlotMicros - 1
	maxSlot = math.MaxInt64/models.SlotMicros - 1
)

// slot reads the number of a slot, which is below 0 for times before 1970.
func (d *decoder) slot() (int64, error) {
	s := d.numeral()
	n, err := strconv.ParseInt(string(s), 10, 64)
	if err != nil || !validNumber(s) || n < minSlot || n > maxSlot {
		return 0, d.fail("slot", "is not the number of a slot")
	}
	return n, nil
}

// number reads an unsigned integer that fits T.
func number[T uint8 | uint16 | uint32 | uint64](d *decoder, name string) (T, error) {
	s := d.numeral()
	var v uint64
	for _, c := range s {
		digit := uint64(c - '0')
		if c < '0' || c > '9' || v > (uint64(^T(0))-digit)/10 {
			return 0, d.fail(name, fmt.Sprintf("is not a whole number from 0 to %d", ^T(0)))
		}
		v = 10*v + digit
	}
	if len(s) == 0 || s[0] == '0' && len(s) > 1 {
		return 0, d.fail(name, "is not a number")
	}
	return T(v), nil
}

// scanner reads JSON (RFC 8259) out of b.
type scanner struct {
	b       []byte
	i       int
	scratch []byte // the last string that had escapes
}

func (s *scanner) fail(what, how string) error {
	return fmt.Errorf("%w: %q %s (before byte %d)", ErrMalformed, what, how, s.i)
}

func (s *scanner) space() {
	if s.i < len(s.b) && s.b[s.i] > ' ' {
		return // nearly always
	}
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\r' || s.b[s.i] == '\t') {
		s.i++
	}
}

// take steps over c if it is what comes next.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// null steps over the literal.
func (s *scanner) null() bool {
	s.space()
	if bytes.HasPrefix(s.b[s.i:], []byte("null")) {
		s.i += len("null")
		return true
	}
	return false
}

func (s *scanner) bool(name string) (bool, error) {
	s.space()
	for _, word := range []string{"true", "false"} {
		if bytes.HasPrefix(s.b[s.i:], []byte(word)) {
			s.i += len(word)
			return word == "true", nil
		}
	}
	return false, s.fail(name, "is neither true nor false")
}

// numeral steps over the characters that numbers are made of.
func (s *scanner) numeral() []byte {
	s.space()
	from := s.i
	for s.i < len(s.b) {
		if c := s.b[s.i]; (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			break
		}
		s.i++
	}
	return s.b[from:s.i]
}

// validNumber says whether s is a JSON number: strconv takes other forms as well.
func validNumber(s []byte) bool { return json.Valid(s) }

// str reads a string. The result is valid until the next call.
func (s *scanner) str(what string) ([]byte, error) {
	if !s.take('"') {
		return nil, s.fail(what, "is not a string")
	}
	from := s.i
	ascii := true
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			out := s.b[from:s.i]
			if s.i++; !ascii && !utf8.Valid(out) {
				return nil, s.fail(what, "is not UTF-8")
			}
			return out, nil
		case c == '\\':
			return s.escaped(what, from)
		case c < 0x20:
			return nil, s.fail(what, "holds a control character")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, s.fail(what, "has no end")
}

// escaped reads a string that starts at from and has its first backslash at the present place.
func (s *scanner) escaped(what string, from int) ([]byte, error) {
	out := append(s.scratch[:0], s.b[from:s.i]...)
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch {
		case c == '"':
			s.scratch = out
			if !utf8.Valid(out) {
				return nil, s.fail(what, "is not UTF-8")
			}
			return out, nil
		case c < 0x20:
			return nil, s.fail(what, "holds a control character")
		case c != '\\':
			out = append(out, c)
			continue
		}
		r, ok := s.escape()
		if !ok {
			return nil, s.fail(what, "holds an unknown escape")
		}
		out = utf8.AppendRune(out, r)
	}
	return nil, s.fail(what, "has no end")
}

// escape reads what follows a backslash. A lone half of a surrogate pair is U+FFFD.
func (s *scanner) escape() (rune, bool) {
	if s.i >= len(s.b) {
		return 0, false
	}
	c := s.b[s.i]
	s.i++
	if c != 'u' {
		k := bytes.IndexByte([]byte(`"\/bfnrt`), c)
		if k < 0 {
			return 0, false
		}
		return rune("\"\\/\b\f\n\r\t"[k]), true
	}
	r, ok := s.hex4()
	if !ok || !utf16.IsSurrogate(r) {
		return r, ok
	}
	if rest := s.b[s.i:]; len(rest) > 1 && rest[0] == '\\' && rest[1] == 'u' {
		back := s.i
		s.i += 2
		low, ok := s.hex4()
		if !ok {
			return 0, false
		}
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, true
		}
		s.i = back
	}
	return utf8.RuneError, true
}

func (s *scanner) hex4() (r rune, ok bool) {
	if len(s.b)-s.i < 4 {
		return 0, false
	}
	for _, c := range s.b[s.i : s.i+4] {
		v := hexValue(c)
		if v < 0 {
			return 0, false
		}
		r = r<<4 | rune(v)
	}
	s.i += 4
	return r, true
}

// skip steps over a value of any kind and checks that it is JSON.
func (s *scanner) skip(name []byte) error {
	s.space()
	from, depth := s.i, 0
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case '"':
			if _, err := s.str("a string"); err != nil {
				return err
			}
			continue
		case '{', '[':
			depth++
		case '}', ']', ',':
			if depth == 0 {
				return s.checkSkipped(name, from)
			}
			if c != ',' {
				depth--
			}
		}
		s.i++
	}
	return s.fail(string(name), "has no end")
}

func (s *scanner) checkSkipped(name []byte, from int) error {
	if !json.Valid(s.b[from:s.i]) {
		return s.fail(string(name), "is not JSON")
	}
	return nil
}
