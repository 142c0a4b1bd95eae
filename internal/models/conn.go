package models

// SlotDir is what one side of a connection sent within one slot. Every field adds up, so that parts merge in any order.
type SlotDir struct {
	Packets    uint32
	EntropyN   uint32 // packets with payload
	Bytes      uint64 // on the wire
	Payload    uint64
	EntropySum uint64 // over the packets with payload, 1e-4 bit
}

// ConnSlot is what one connection did within one slot of 40 ms: what the detector is fed with. Its identity is that of
// its Connection. It is three cache lines of 64 bytes: who, when, how much.
type ConnSlot struct {
	Orig, Resp Addr // Orig is the initiator
	OrigPort   uint16
	RespPort   uint16
	Proto      Proto
	VLAN       uint16
	OrigMAC    MAC // the originator's packets of this slot come from it; if it sent none, the last ones did
	RespMAC    MAC // likewise; before the responder has sent anything, what the originator sends to
	State      ConnState
	New        bool // the connection's first packet is in this slot
	Answered   bool // the responder has sent something, in this slot or before
	Completed  bool // in this slot the connection got through: TCP's handshake complete, others' first answer
	Through    bool // it has got through, in this slot or before
	Finished   bool // in this slot both sides have sent FIN, or one of them RST (TCP)
	Failed     bool // it has ended without an answer: a slot of its own, without packets
	Hello      bool // a TLS ClientHello has been seen
	Backward   bool // its first packet came from the responder: it is seen from the middle on, or answers what nobody has asked
	ICMPType   uint8
	ICMPCode   uint8

	ConnID             uint64
	Start              int64  // capture time of the connection's first packet
	Before             int64  // of its last packet before this slot; 0: there was none
	First              int64  // of the slot's first packet of this connection; where it has Failed, of its last packet
	Last               int64  // of its last packet in the slot
	TotalUp, TotalDown uint64 // payload since the connection's start, this slot included
	_                  uint64 // to the end of the line

	Up, Down SlotDir // what the originator and what the responder sent
}

// servicePort is the first port that is no service's (RFC 6335, section 6: below it are the system ports).
const servicePort = 1024

// Asks says whether a connection is an attempt: one that its initiator wants an answer to. A connection whose first packet came from its
// responder is none. ICMP errors and announcements are none (RFC 792, RFC 4443, RFC 4861). What a service sends over UDP is none: it is an
// answer that comes late, or whose question was not seen.
func (s *ConnSlot) Asks() bool {
	const echo, timestamp, information, mask, echo6 = 8, 13, 15, 17, 128
	switch s.Proto {
	case ProtoICMP:
		return !s.Backward && (s.ICMPType == echo || s.ICMPType == timestamp || s.ICMPType == information || s.ICMPType == mask)
	case ProtoICMPv6:
		return !s.Backward && s.ICMPType == echo6
	case ProtoUDP:
		return !s.Backward && (s.OrigPort >= servicePort || s.RespPort < servicePort)
	default:
		return !s.Backward
	}
}

// Opens says whether an attempt begins in the slot.
func (s *ConnSlot) Opens() bool { return s.New && s.Asks() }

// GetsThrough says whether an attempt gets through in the slot.
func (s *ConnSlot) GetsThrough() bool { return s.Completed && s.Asks() }

// SensorSlot is what a sensor saw in one slot: the unit that goes from sensor to detector. Its parts are those of the sensor's workers, in their
// order; what a detector makes of it does not depend on how it is cut.
type SensorSlot struct {
	N              int64  // number: from N*SlotMicros of capture time to (N+1)*SlotMicros
	Epoch          uint64 // how often the clock was set back before
	Received, Lost uint64 // packets, of the capture so far
	Parts          []SlotPart
}

// Roll is what a detector in the same process makes of a part while it is still with its worker, and in the worker's caches.
type Roll interface {
	// Take forgets the part before and rolls up p, whose slices it may keep until it takes the next.
	Take(p *SlotPart)
}

// SlotPart is what one worker saw in a slot.
type SlotPart struct {
	Roll    Roll       // has taken the part; nil where the detector is elsewhere
	Conns   []ConnSlot // that moved
	Failed  []ConnSlot // that ended without an answer
	ARP     []Observation
	DNS     []Question
	Unheard uint64 // DNS messages and ARP packets there was no room for
}

// Observation is something that belongs to no connection but that the detector is told of: an ARP packet (RFC 826).
type Observation struct {
	TS     int64
	Op     uint16 // 1 request, 2 reply
	Sender Addr   // who claims to be MAC
	Target Addr
	MAC    MAC // the sender's hardware address, as the ARP packet says
}

// Question is a DNS message (RFC 1035) as the detector is told of it: who asked whom for what, or was answered.
type Question struct {
	TS     int64
	Client Addr
	Server Addr
	QType  uint16
	Rcode  uint8  // of an answer
	Answer bool   // from the server
	Size   uint32 // bytes of the message
	Name   [MaxName]byte
	Len    uint8 // of Name
}

// MaxName is the length of the longest DNS name with dots (RFC 1035, section 2.3.4).
const MaxName = 253

// ConnState is how far a connection has come; for TCP the reduced state machine of RFC 9293, section 3.3.2, as one sees
// it from outside.
type ConnState uint8

// The states. Protocols without a handshake are ConnActive until they expire.
const (
	ConnActive      ConnState = iota // not TCP, or TCP picked up in mid-stream
	ConnSynSent                      // SYN seen, no answer
	ConnSynReceived                  // SYN and SYN-ACK seen
	ConnEstablished                  // three-way handshake complete
	ConnClosing                      // one side has sent FIN
	ConnClosed                       // both sides have sent FIN
	ConnReset                        // RST seen
)

// connStates are the texts of all states, indexed by state; the API's filter accepts exactly these.
var connStates = [...]string{"active", "syn_sent", "syn_received", "established", "closing", "closed", "reset"} //nolint:gochecknoglobals // constant table

// String is the text of the "state" field.
func (s ConnState) String() string {
	if int(s) < len(connStates) {
		return connStates[s]
	}
	return "active"
}

// ConnStateNames lists the texts of all states.
func ConnStateNames() []string { return connStates[:] }

// ConnEnd says why a connection left the table.
type ConnEnd string

// The reasons. ConnOpen is a connection that is still in the table.
const (
	ConnOpen    ConnEnd = ""
	ConnIdle    ConnEnd = "idle"    // silent for its protocol's time-out
	ConnDone    ConnEnd = "done"    // FIN or RST, and the linger after it
	ConnReused  ConnEnd = "reused"  // a new SYN on a finished 5-tuple
	ConnEvicted ConnEnd = "evicted" // the table was full and this was the oldest
	ConnFlushed ConnEnd = "flushed" // the capture ended
	ConnCutOff  ConnEnd = "cut_off" // the program ended, killed or without power, before the connection did
)

// Connection is a bidirectional 5-tuple and what has been seen of it so far, as it is stored and served. "Orig" is the
// initiator, "up" what it sent.
type Connection struct {
	ID          int64   `json:"id"           gorm:"primaryKey;autoIncrement:false"`
	Sensor      string  `json:"sensor"`
	SrcIP       string  `json:"src_ip"`
	DstIP       string  `json:"dst_ip"`
	SrcPort     uint16  `json:"src_port"`
	DstPort     uint16  `json:"dst_port"`
	Proto       string  `json:"proto"`
	VLAN        uint16  `json:"vlan,omitempty"`
	SrcMAC      string  `json:"src_mac,omitempty"`
	DstMAC      string  `json:"dst_mac,omitempty"`
	ICMPType    *uint8  `json:"icmp_type,omitempty"`
	ICMPCode    *uint8  `json:"icmp_code,omitempty"`
	CommunityID string  `json:"community_id"`
	State       string  `json:"state"`
	End         ConnEnd `json:"end,omitempty"` // why it ended; empty while it is open
	FirstTS     Micros  `json:"first_ts"`
	LastTS      Micros  `json:"last_ts"`
	PacketsUp   uint64  `json:"packets_up"`
	PacketsDown uint64  `json:"packets_down"`
	BytesUp     uint64  `json:"bytes_up"` // on the wire
	BytesDown   uint64  `json:"bytes_down"`
	FlagsUp     string  `json:"flags_up,omitempty"` // all TCP flags that side has sent
	FlagsDown   string  `json:"flags_down,omitempty"`
	Entropy     float64 `json:"entropy"` // mean over the packets with payload, bits per byte
	SNI         string  `json:"sni,omitempty"`
	JA4         string  `json:"ja4,omitempty"`
	Score       float64 `json:"score"`                 // of the incident that it belongs to; 0: none
	Alert       string  `json:"alert,omitempty"`       // id of that incident
	RateUp      float64 `json:"rate_up"      gorm:"-"` // bytes/s over the last second of capture time; 0 where it is not live
	RateDown    float64 `json:"rate_down"    gorm:"-"`
	Boot        int64   `json:"-"`                             // of a connection of a sensor elsewhere: which start of it
	Origin      int64   `json:"-"`                             // and the number that the sensor has given it; 0: it is of this process
	InsertedAt  int64   `json:"-"            gorm:"<-:create"` // wall clock, for retention
}

// Single says that the connection is one packet that nobody has answered. A flood is made of these, and of a list with a bound they are what
// can be missing.
func (c *Connection) Single() bool { return c.PacketsDown == 0 && c.PacketsUp <= 1 }

// ConnectionChanges is what happened to the connections that are shown live, between two generations.
type ConnectionChanges struct {
	Generation uint64        // what the reader knows after this
	Full       bool          // Rows are all there is: what the reader knew before is void
	Rows       []*Connection // new or changed, each at most once, in their present state, the latest first; nobody may change them
	Gone       []int64       // have left
}
