package models

import (
	"slices"
	"strconv"
	"strings"
)

// Proto is an IP protocol number (IANA "Assigned Internet Protocol Numbers"), or ProtoARP, which has none.
type Proto uint16

// The protocols that have a name on the wire; others are their number.
const (
	ProtoICMP   Proto = 1
	ProtoTCP    Proto = 6
	ProtoUDP    Proto = 17
	ProtoICMPv6 Proto = 58
	ProtoSCTP   Proto = 132
	ProtoARP    Proto = 0x100
)

// String is the text of the "proto" field: "TCP", "UDP", "ICMP", "ICMPv6", "ARP", else the number.
func (p Proto) String() string {
	switch p {
	case ProtoICMP:
		return "ICMP"
	case ProtoTCP:
		return "TCP"
	case ProtoUDP:
		return "UDP"
	case ProtoICMPv6:
		return "ICMPv6"
	case ProtoARP:
		return "ARP"
	case ProtoSCTP: // a number on the wire
	}
	return strconv.Itoa(int(p))
}

// HasPorts says whether the protocol's header starts with a source and a destination port.
func (p Proto) HasPorts() bool { return p == ProtoTCP || p == ProtoUDP || p == ProtoSCTP }

// ParseProto reads what String wrote, names in any case.
func ParseProto(s string) (Proto, bool) {
	for _, p := range []Proto{ProtoTCP, ProtoUDP, ProtoICMP, ProtoICMPv6, ProtoARP} {
		if strings.EqualFold(s, p.String()) {
			return p, true
		}
	}
	if strings.EqualFold(s, "SCTP") {
		return ProtoSCTP, true
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return Proto(n), err == nil
}

// TCPFlags are the control bits of byte 13 of the TCP header (RFC 9293, section 3.1).
type TCPFlags uint8

// The control bits.
const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// flagText gives every combination its text, in alphabetical order: "ACK,PSH".
var flagText = makeFlagText() //nolint:gochecknoglobals // a constant table that Go cannot write as a constant

func makeFlagText() (t [256]string) {
	names := [8]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"}
	for f := range t {
		var set []string
		for i, n := range names {
			if f>>i&1 == 1 {
				set = append(set, n)
			}
		}
		slices.Sort(set)
		t[f] = strings.Join(set, ",")
	}
	return t
}

// String names the set bits alphabetically, separated by commas; none is "".
func (f TCPFlags) String() string { return flagText[f] }

// Dir tells which side of its connection sent a packet.
type Dir uint8

// The directions. DirNone is a packet that belongs to no connection.
const (
	DirNone Dir = iota
	DirOrig     // from the initiator
	DirResp     // from the responder
)

// String is the text of the "dir" field: "orig", "resp" or "".
func (d Dir) String() string {
	switch d {
	case DirOrig:
		return "orig"
	case DirResp:
		return "resp"
	case DirNone:
	}
	return ""
}

// Frag tells whether a packet is part of a fragmented datagram (RFC 791, section 3.1; RFC 8200, section 4.5).
type Frag uint8

// The kinds. A later fragment has no ports: its connection is the one with ports 0 between the same addresses.
const (
	FragNone Frag = iota
	FragFirst
	FragLater
)

// Text is a string in the arena of the batch that its packet belongs to.
type Text struct {
	Off uint32
	Len uint16
}

// In reads the text from its batch's arena; a Text that does not fit gives "".
func (t Text) In(arena []byte) []byte {
	end := uint64(t.Off) + uint64(t.Len)
	if end > uint64(len(arena)) {
		return nil
	}
	return arena[t.Off:end]
}

// PacketMeta is what one packet says of itself, canonical before any detector sees it: TS is cut to microseconds and
// Entropy rounded to 1e-4 bit, so that a detector behind a broker sees the same values as one in the process.
// docs/wire-format.md gives its JSON.
type PacketMeta struct {
	TS         int64 // capture time
	ConnStart  int64 // capture time of the connection's first packet; 0: belongs to none
	Src, Dst   Addr  // for ARP the sender's and the target's protocol address
	SrcPort    uint16
	DstPort    uint16
	Proto      Proto
	Flags      TCPFlags // TCP only
	Dir        Dir
	WireLen    uint32 // the whole frame as it was on the wire
	PayloadLen uint32 // bytes above the transport header, as the IP header counts them
	Entropy    uint32 // Shannon entropy of the captured payload: 0 to 80000

	SrcMAC, DstMAC  MAC // zero where the link layer has none
	VLAN            uint16
	InnerVLAN       uint16 // the customer tag of QinQ (IEEE 802.1ad)
	Frag            Frag
	Nesting         uint8 // tunnels around the packet that counts
	ICMPType        uint8
	ICMPCode        uint8
	ARPOp           uint16 // 1 request, 2 reply (RFC 826)
	ARPSenderMAC    MAC
	ARPTargetMAC    MAC
	DNSAnswer       bool  // a response: DNSRcode counts (RFC 1035, section 4.1.1)
	DNSRcode        uint8 // 0 NOERROR, 3 NXDOMAIN
	DNSQType        uint16
	ConnNew         bool // it begins a connection that is an attempt: ConnSlot.Asks
	ConnEstablished bool // with it such a connection got through
	DNSQuestion     Text // lower case, dots between labels, no dot at the end; "" is none
	SNI             Text // TLS server name (RFC 6066), on the packet that completes the hello
	JA4             Text
}

// Packet is a PacketMeta with what of the frame is valid only until its batch is released.
type Packet struct {
	PacketMeta
	Seq     uint32 // TCP sequence number
	Payload []byte // captured bytes above the transport header; may be shorter than PayloadLen
}
