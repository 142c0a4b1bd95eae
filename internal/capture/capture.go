// Package capture brings frames in: from capture files, from a file replayed in real time, and from the interfaces of a
// Linux machine through memory-mapped rings. It gives bytes with a capture time and honest counters of what was lost,
// and looks into no packet.
//
// Every source ([File], [Replay], [Ring]) has the same three methods: Read fills a batch whose bytes are valid until
// the next Read, Stats may be called from any goroutine, and after Close, which may be called from any goroutine too, Read
// returns io.EOF once it has brought what is left. Only one goroutine may call Read. Times are microseconds since the Unix epoch, lengths are bytes on the wire without the frame check sequence.
//
// Sources: pcap, draft-ietf-opsawg-pcap; pcapng, draft-ietf-opsawg-pcapng; link types, draft-ietf-opsawg-pcaplinktype;
// the ring, Documentation/networking/packet_mmap.rst of the Linux kernel and packet(7).
package capture

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"netlyra/internal/models"
)

const (
	maxFrame = 256 << 10 // bytes; a file's record that claims more is damaged (libpcap and Wireshark draw the same line)
	maxBatch = 256       // frames a Read of a file brings at most
)

// Stats counts what a source has seen since it was opened. Received = Frames + Dropped + Skipped once Read has
// returned io.EOF; before, a live source's Received runs ahead by what waits in the ring.
type Stats struct {
	Received uint64
	Frames   uint64 // delivered by Read
	Bytes    uint64 // their length on the wire
	Dropped  uint64 // lost in the kernel: the ring was full
	Freezes  uint64 // how often it became full
	Skipped  uint64 // frames of a pcapng interface whose link type is not supported
	Outliers uint64 // frames of a file whose time was far from that of their neighbours, which they got instead
	SetBacks uint64 // how often a file's clock was set back by more than 10 s
}

// Drops lists the losses by stage and reason, those that are 0 too.
func (s Stats) Drops() []models.Drop {
	return []models.Drop{
		{Stage: "kernel", Reason: "ring_full", Count: s.Dropped, Unit: models.DropPackets, Effect: models.DropUnseen},
		{Stage: "capture", Reason: "link_type", Count: s.Skipped, Unit: models.DropPackets, Effect: models.DropUnseen},
	}
}

// DamageError says where a capture file stops making sense. Everything before it has been delivered.
type DamageError struct {
	Path   string
	Offset int64 // of the record's header in the file, after decompression
	Reason string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("capture: %s is damaged at byte %d: %s", e.Path, e.Offset, e.Reason)
}

// LinkTypeError names a link type that cannot be decoded.
type LinkTypeError struct {
	Name string // file or interface
	Link uint32
}

func (e *LinkTypeError) Error() string {
	var names []string
	for _, l := range linkTypes() {
		names = append(names, strconv.Itoa(int(l.link))+" ("+l.name+")")
	}
	name := "without a name here"
	if n, known := unsupportedLinks()[e.Link]; known {
		name = n
	}
	return fmt.Sprintf("capture: %s has link type %d (%s), which is not supported; these are: %s",
		e.Name, e.Link, name, strings.Join(names, ", "))
}

// unsupportedLinks names the link types that captures have and that are not decoded (https://www.tcpdump.org/linktypes.html).
func unsupportedLinks() map[uint32]string {
	return map[uint32]string{
		3: "AX.25", 6: "IEEE 802.5 Token Ring", 7: "ARCNET", 8: "SLIP", 9: "PPP", 10: "FDDI", 50: "PPP in HDLC framing", 51: "PPPoE", 99: "Symantec firewall",
		100: "ATM, RFC 1483", 104: "Cisco HDLC", 105: "802.11 without radiotap", 107: "Frame Relay", 114: "Apple LocalTalk", 117: "OpenBSD pflog",
		119: "802.11 with a Prism header", 122: "IP over Fibre Channel", 123: "SunATM", 138: "IP over FireWire", 140: "MTP2", 141: "MTP3", 142: "SCCP", 143: "DOCSIS",
		144: "Linux IrDA", 147: "private use 0", 163: "802.11 with an AVS header", 165: "BACnet MS/TP", 166: "Linux PPP", 177: "LAPD", 187: "Bluetooth HCI",
		189: "USB, Linux", 192: "PPI", 195: "IEEE 802.15.4 with FCS", 197: "ERF", 201: "Bluetooth HCI with direction", 202: "AX.25 KISS", 204: "PPP with direction",
		220: "USB, Linux, 64 bytes", 223: "WirelessHART", 224: "Fibre Channel FC-2", 226: "Solaris ipnet", 227: "CAN", 230: "IEEE 802.15.4 without FCS", 231: "D-Bus", 235: "DVB-CI",
		239: "NFLOG", 240: "netANALYZER", 242: "IP over InfiniBand", 243: "MPEG-2 TS", 245: "NFC LLCP", 247: "InfiniBand", 248: "SCTP", 249: "USBPcap",
		251: "Bluetooth LE", 252: "Wireshark upper PDU", 253: "Linux netlink", 254: "Bluetooth Linux monitor", 256: "Bluetooth LE with pseudo-header",
		258: "PKTAP", 266: "USB, Darwin", 270: "LoRaTap", 272: "nRF sniffer", 283: "IEEE 802.15.4 TAP",
	}
}

type linkName struct {
	link models.LinkType
	name string
}

func linkTypes() []linkName {
	return []linkName{
		{models.LinkNull, "BSD loopback"},
		{models.LinkEthernet, "Ethernet"},
		{models.LinkRaw, "raw IP"},
		{models.LinkLoop, "OpenBSD loopback"},
		{models.LinkSLL, "Linux cooked v1"},
		{models.LinkRadiotap, "802.11 radiotap"},
		{models.LinkIPv4, "raw IPv4"},
		{models.LinkIPv6, "raw IPv6"},
		{models.LinkSLL2, "Linux cooked v2"},
	}
}

// linkType takes a file's link type field, whose upper half may carry the length of a frame check sequence. 12 is what
// old writers put for raw IP.
func linkType(field uint32) (models.LinkType, bool) {
	const oldRaw = 12
	l := models.LinkType(field & 0xffff)
	if l == oldRaw {
		l = models.LinkRaw
	}
	return l, slices.ContainsFunc(linkTypes(), func(n linkName) bool { return n.link == l })
}
