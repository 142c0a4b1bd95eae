package models

// LinkType is a LINKTYPE_ value of capture files (tcpdump.org/linktypes.html); live sources use it too.
type LinkType uint16

// The link types that can be decoded.
const (
	LinkNull     LinkType = 0   // BSD loopback: protocol family in the writer's byte order
	LinkEthernet LinkType = 1   // IEEE 802.3
	LinkRaw      LinkType = 101 // IPv4 or IPv6, told apart by the version nibble
	LinkLoop     LinkType = 108 // OpenBSD loopback: protocol family in network order
	LinkSLL      LinkType = 113 // Linux cooked v1
	LinkRadiotap LinkType = 127 // IEEE 802.11 behind a radiotap header
	LinkIPv4     LinkType = 228
	LinkIPv6     LinkType = 229
	LinkSLL2     LinkType = 276 // Linux cooked v2
)

// Frame is what a source captured: bytes with a time. Data is valid until the next Read of the source that gave it.
type Frame struct {
	TS      int64 // capture time, cut to microseconds
	Data    []byte
	WireLen uint32 // length on the wire, a stripped VLAN tag included; what a file claims, even if that is less than len(Data)
	Link    LinkType
	Iface   uint16 // index of the source's interface
	TPID    uint16 // EtherType of a VLAN tag that the kernel stripped (0x8100, 0x88a8); 0: none
	TCI     uint16 // that tag's control information (IEEE 802.1Q, section 9.6)
}

// Batch is what one Read of a source brings. The caller owns it and hands the same one in again, so that its slice is
// reused.
type Batch struct {
	Frames []Frame // in the order they were captured
	// Watermark is the capture time up to which the source has delivered everything it will: a live source raises it on
	// an idle link too, a file's is the highest time read. 0: not known yet.
	Watermark int64
}
