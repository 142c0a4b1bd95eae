// Package bench makes the traffic that speed is measured with, and measures. Its figures are ratios against something that
// runs on the same machine at the same time: absolute ones say more of the machine than of the program.
package bench

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
)

// SynthOptions describe a synthetic capture. The zero value is the one whose SHA-256 is committed, but for its size.
type SynthOptions struct {
	Bytes       int64  // of the file, at least; 0 means 1 GB
	Seed        uint64 // 0 means 42
	Connections int    // 0 means 155,000
	BitRate     int64  // of capture time, on the wire with preamble and gap; 0 means 1 Gbit/s
	Profile     string // "imix" (64, 570 and 1518 bytes, 7:4:1), "64" or "1514"; "" means imix
}

// Sizes are those of the frame with its check sequence of 4 bytes, as IMIX is defined; the capture holds the frame without it.
const (
	fcs          = 4
	smallFrame   = 64 - fcs
	mediumFrame  = 570 - fcs
	largeFrame   = 1518 - fcs
	wireOverhead = 20 + fcs // preamble, start delimiter and gap (IEEE 802.3)

	activeConnections = 16_384 // at the same time; the oldest gives way to the next
	ipv6Share         = 10     // one connection in ten
	vlanShare         = 50     // one in fifty
	udpShare          = 5      // one in five
	insideHosts       = 250
	outsideHosts      = 20_000

	synthStart = 1_700_000_000 // seconds since the Unix epoch
)

// synthConn is one connection of the capture.
type synthConn struct {
	id      int
	v6      bool
	vlan    bool
	udp     bool
	packets int
	seq     [2]uint32
}

// synth writes one capture.
type synth struct {
	o       SynthOptions
	rng     *rand.Rand
	w       *bufio.Writer
	written int64
	nanos   int64
	active  []synthConn
	opened  int
	due     float64 // connections that should have been opened by now
	rate    float64 // connections per small frame
	deck    []int
	frame   [largeFrame + 4]byte
	packets int64
}

// Synth writes a capture to w: pcap, Ethernet. Connections open at an even rate, begin with a handshake, and each lives while the next
// activeConnections open; every further frame belongs to a random live one, in a random direction, with random payload. It
// returns the number of packets.
func Synth(w io.Writer, o SynthOptions) (packets int64, err error) {
	if o.Bytes == 0 {
		o.Bytes = 1_000_000_000
	}
	if o.Seed == 0 {
		o.Seed = 42
	}
	if o.Connections == 0 {
		o.Connections = 155_000
	}
	if o.BitRate == 0 {
		o.BitRate = 1_000_000_000
	}
	s := &synth{o: o, rng: rand.New(rand.NewPCG(o.Seed, 0)), w: bufio.NewWriterSize(w, 1<<20)}
	deck, err := sizes(o.Profile)
	if err != nil {
		return 0, err
	}
	s.plan(deck)
	s.header()
	for s.written < o.Bytes {
		if err := s.next(deck); err != nil {
			return s.packets, err
		}
	}
	return s.packets, s.w.Flush()
}

// sizes is the deck that frame sizes are drawn from; it is shuffled and used up again and again, so that the ratio is exact.
func sizes(profile string) ([]int, error) {
	switch profile {
	case "", "imix":
		return []int{
			smallFrame, smallFrame, smallFrame, smallFrame, smallFrame, smallFrame, smallFrame,
			mediumFrame, mediumFrame, mediumFrame, mediumFrame, largeFrame,
		}, nil
	case "64":
		return []int{smallFrame}, nil
	case "1514":
		return []int{smallFrame, largeFrame, largeFrame, largeFrame, largeFrame, largeFrame, largeFrame, largeFrame}, nil
	}
	return nil, fmt.Errorf("bench: profile %q: imix, 64 and 1514 exist", profile)
}

// plan spreads the opening of connections over the small frames that the file will have.
func (s *synth) plan(deck []int) {
	bytes, small := 0, 0
	for _, n := range deck {
		bytes += n + 16
		if n == smallFrame {
			small++
		}
	}
	decks := float64(s.o.Bytes) / float64(bytes)
	s.rate = float64(s.o.Connections) / (decks * float64(small) * 0.995) // all are open a little before the end
}

func (s *synth) header() {
	var h [24]byte
	binary.LittleEndian.PutUint32(h[0:], 0xa1b2c3d4)
	binary.LittleEndian.PutUint16(h[4:], 2)
	binary.LittleEndian.PutUint16(h[6:], 4)
	binary.LittleEndian.PutUint32(h[16:], 65_535)
	binary.LittleEndian.PutUint32(h[20:], 1)
	_, _ = s.w.Write(h[:]) // bufio keeps the error for Flush
	s.written += int64(len(h))
}

// next writes one frame.
func (s *synth) next(deck []int) error {
	if len(s.deck) == 0 {
		s.deck = append(s.deck, deck...)
		s.rng.Shuffle(len(s.deck), func(i, j int) { s.deck[i], s.deck[j] = s.deck[j], s.deck[i] })
	}
	size := s.deck[len(s.deck)-1]
	s.deck = s.deck[:len(s.deck)-1]
	var c *synthConn
	if size == smallFrame {
		s.due += s.rate
		if s.opened < s.o.Connections && (float64(s.opened) < s.due || s.opened == 0) {
			c = s.open()
		}
	}
	if c == nil {
		c = s.pick(size)
	}
	n := s.build(c, size)
	return s.record(s.frame[:n])
}

// open makes the next connection; the oldest gives way.
func (s *synth) open() *synthConn {
	id := s.opened
	s.opened++
	c := synthConn{id: id, v6: id%ipv6Share == 3, vlan: id%vlanShare == 7, udp: id%udpShare == 1, seq: [2]uint32{s.rng.Uint32(), s.rng.Uint32()}}
	if len(s.active) < activeConnections {
		s.active = append(s.active, c)
		return &s.active[len(s.active)-1]
	}
	s.active[id%activeConnections] = c
	return &s.active[id%activeConnections]
}

// pick chooses a live connection. A frame with payload goes to one whose handshake is over, if a few tries find one.
func (s *synth) pick(size int) *synthConn {
	if len(s.active) == 0 {
		return s.open()
	}
	c := &s.active[s.rng.IntN(len(s.active))]
	for range 20 {
		if size == smallFrame || c.udp || c.packets >= 3 {
			break
		}
		c = &s.active[s.rng.IntN(len(s.active))]
	}
	return c
}

// build writes the connection's next frame of about size bytes (IPv6 and VLAN tags make the smallest a little longer) and returns its length.
func (s *synth) build(c *synthConn, size int) int {
	dir := s.rng.IntN(2)
	flags := byte(0x10) // ACK
	switch {
	case c.packets == 0:
		dir, flags = 0, 0x02
	case c.packets == 1:
		dir, flags = 1, 0x12
	case c.packets == 2:
		dir = 0
	case size > smallFrame:
		flags = 0x18
	}
	c.packets++

	f := s.frame[:]
	at := ethernetHeader(f, dir, c)
	transport := 20
	if c.udp {
		transport = 8
	}
	network := 20
	if c.v6 {
		network = 40
	}
	size = max(size, at+network+transport)
	payload := size - at - network - transport
	if !c.udp && c.packets <= 3 {
		payload = 0 // the rest is padding (the handshake has no data)
	}
	ip, seg := f[at:], f[at+network:]
	fill(s.rng, seg[transport:size-at-network])
	if payload == 0 {
		clear(seg[transport : size-at-network])
	}
	proto := byte(6)
	if c.udp {
		proto = 17
	}
	networkHeader(ip, c, dir, proto, transport+payload)
	ports := [2]uint16{uint16(1024 + c.id*7%64_000), [4]uint16{443, 80, 53, 8443}[c.id%4]}
	binary.BigEndian.PutUint16(seg[0:], ports[dir])
	binary.BigEndian.PutUint16(seg[2:], ports[1-dir])
	if c.udp {
		binary.BigEndian.PutUint16(seg[4:], uint16(8+payload))
		binary.BigEndian.PutUint16(seg[6:], 0)
	} else {
		tcpHeader(seg, c, dir, flags, payload)
	}
	sum := pseudoSum(ip, c.v6, proto, transport+payload) + sum16(seg[:transport+payload])
	at16 := 16
	if c.udp {
		at16 = 6
	}
	binary.BigEndian.PutUint16(seg[at16:], fold(sum))
	return size
}

func ethernetHeader(f []byte, dir int, c *synthConn) int {
	macs := [2][6]byte{{2, 0, 0, 0, 0, byte(c.id % insideHosts)}, {2, 0, 0, 0, 1, 0}}
	copy(f[0:], macs[1-dir][:])
	copy(f[6:], macs[dir][:])
	at := 12
	if c.vlan {
		binary.BigEndian.PutUint16(f[at:], 0x8100)
		binary.BigEndian.PutUint16(f[at+2:], uint16(100+c.id%8))
		at += 4
	}
	kind := uint16(0x0800)
	if c.v6 {
		kind = 0x86dd
	}
	binary.BigEndian.PutUint16(f[at:], kind)
	return at + 2
}

func networkHeader(ip []byte, c *synthConn, dir int, proto byte, length int) {
	inside, outside := c.id%insideHosts+1, c.id*31%outsideHosts
	if c.v6 {
		clear(ip[:40])
		ip[0] = 0x60
		binary.BigEndian.PutUint16(ip[4:], uint16(length))
		ip[6], ip[7] = proto, 64
		a, b := ip[8:24], ip[24:40]
		if dir == 1 {
			a, b = b, a
		}
		binary.BigEndian.PutUint64(a, 0x20010db8_00000001)
		binary.BigEndian.PutUint64(a[8:], uint64(inside))
		binary.BigEndian.PutUint64(b, 0x20010db8_00000002)
		binary.BigEndian.PutUint64(b[8:], uint64(outside)+1)
		return
	}
	clear(ip[:20])
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(20+length))
	ip[8], ip[9] = 64, proto
	a, b := ip[12:16], ip[16:20]
	if dir == 1 {
		a, b = b, a
	}
	binary.BigEndian.PutUint32(a, 0x0a000000|uint32(inside))
	binary.BigEndian.PutUint32(b, 0xc6120000+uint32(outside)) // 198.18.0.0/15: benchmarking, RFC 2544
	binary.BigEndian.PutUint16(ip[10:], fold(sum16(ip[:20])))
}

func tcpHeader(seg []byte, c *synthConn, dir int, flags byte, payload int) {
	binary.BigEndian.PutUint32(seg[4:], c.seq[dir])
	binary.BigEndian.PutUint32(seg[8:], c.seq[1-dir])
	seg[12], seg[13] = 5<<4, flags
	binary.BigEndian.PutUint16(seg[14:], 65_535)
	clear(seg[16:20])
	c.seq[dir] += uint32(payload)
	if flags&2 != 0 {
		c.seq[dir]++
	}
}

// fill writes random bytes.
func fill(rng *rand.Rand, b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, rng.Uint64())
	}
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
}

// The Internet checksum, RFC 1071.

func sum16(b []byte) (sum uint64) {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint64(b[0])<<8 | uint64(b[1])
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	return sum
}

func pseudoSum(ip []byte, v6 bool, proto byte, length int) uint64 {
	if v6 {
		return sum16(ip[8:40]) + uint64(proto) + uint64(length)
	}
	return sum16(ip[12:20]) + uint64(proto) + uint64(length)
}

func fold(sum uint64) uint16 {
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// record writes a frame with its time: they follow each other as a link of the bit rate carries them.
func (s *synth) record(f []byte) error {
	var h [16]byte
	binary.LittleEndian.PutUint32(h[0:], uint32(synthStart+s.nanos/1e9))
	binary.LittleEndian.PutUint32(h[4:], uint32(s.nanos%1e9/1000))
	binary.LittleEndian.PutUint32(h[8:], uint32(len(f)))
	binary.LittleEndian.PutUint32(h[12:], uint32(len(f)))
	if _, err := s.w.Write(h[:]); err != nil {
		return err
	}
	if _, err := s.w.Write(f); err != nil {
		return err
	}
	s.written += int64(len(h) + len(f))
	s.nanos += int64(len(f)+wireOverhead) * 8 * 1e9 / s.o.BitRate
	s.packets++
	return nil
}
