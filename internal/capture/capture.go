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
	return fmt.Sprintf("capture: %s has link type %d, which is not supported; these are: %s",
		e.Name, e.Link, strings.Join(names, ", "))
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
