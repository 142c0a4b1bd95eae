package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"netlyra/internal/models"
)

// Block types of pcapng.
const (
	ngSection     = 0x0a0d0d0a
	ngInterface   = 1
	ngPacket      = 2 // obsolete, but old captures have it
	ngSimple      = 3
	ngEnhanced    = 6
	ngByteOrder   = 0x1a2b3c4d
	ngHeaderBytes = 8  // type and length
	ngBlockBytes  = 12 // these and the length once more at the end: the smallest block
)

// Options of an interface block.
const (
	ngOptEnd      = 0
	ngOptTSResol  = 9
	ngOptTSOffset = 14
)

const (
	maxNgBlock = windowBytes / 2 // of those that are read whole; others are skipped whatever their length
	maxNgIfs   = 1 << 16         // interfaces of a section: what Frame.Iface can tell apart
)

// Capture times are kept to the years 1 to 9999, which RFC 3339 can write; a file's clock may say anything.
const (
	minTS = -62_135_596_800_000_000
	maxTS = 253_402_300_799_999_999
)

// ngReader parses pcapng. It is our own because gopacket's reader copies each packet into one buffer, so that a batch
// cannot refer to them, and does not say where in the file it is.
type ngReader struct {
	started  bool      // there was a section header
	big      bool      // the section's byte order
	ifs      []ngIface // of the section
	first    int       // number of its first interface in the whole file
	lastTS   int64     // a simple packet has no time: it gets its predecessor's
	skip     uint64
	skipLink uint32
}

// ngIface is an interface block.
type ngIface struct {
	field   uint32 // link type as in the file
	link    models.LinkType
	known   bool
	snaplen uint32
	clock   ngClock
}

// The section's byte order costs a predictable branch here, where binary.ByteOrder costs an interface call.

func (g *ngReader) u16(b []byte) uint16 {
	v := binary.LittleEndian.Uint16(b)
	if g.big {
		return bits.ReverseBytes16(v)
	}
	return v
}

func (g *ngReader) u32(b []byte) uint32 {
	v := binary.LittleEndian.Uint32(b)
	if g.big {
		return bits.ReverseBytes32(v)
	}
	return v
}

func (g *ngReader) u64(b []byte) uint64 {
	v := binary.LittleEndian.Uint64(b)
	if g.big {
		return bits.ReverseBytes64(v)
	}
	return v
}

func (g *ngReader) skipped() (uint64, uint32) { return g.skip, g.skipLink }

func (g *ngReader) parse(w *window, frames []models.Frame) ([]models.Frame, int, error) {
	if w.skip > 0 {
		return frames, 0, nil
	}
	for len(frames) < maxBatch {
		rest := w.rest()
		typ, length, need, err := g.blockHeader(rest)
		if err != nil || need > len(rest) {
			return frames, need, err
		}
		if !ngReadWhole(typ) {
			w.drop(int64(length))
			if w.skip > 0 {
				return frames, 0, nil
			}
			continue
		}
		if length > maxNgBlock {
			return frames, 0, fmt.Errorf("a block of type %d claims %d bytes, %d is the most there can be", typ, length, maxNgBlock)
		}
		if len(rest) < int(length) {
			return frames, int(length), nil
		}
		block := rest[:length]
		if end := g.u32(block[length-4:]); end != length {
			return frames, 0, fmt.Errorf("the block's length is %d at its start and %d at its end", length, end)
		}
		if frames, err = g.block(typ, block[ngHeaderBytes:length-4], frames); err != nil {
			return frames, 0, err
		}
		w.take(int(length))
	}
	return frames, 0, nil
}

// blockHeader reads type and length of the block at the start of b, and the byte order if a section starts there.
// need is how many bytes of it that takes.
func (g *ngReader) blockHeader(b []byte) (typ, length uint32, need int, err error) {
	if len(b) < ngBlockBytes {
		return 0, 0, ngBlockBytes, nil
	}
	if isNg(b) {
		if g.big = binary.BigEndian.Uint32(b[8:]) == ngByteOrder; g.u32(b[8:]) != ngByteOrder {
			return 0, 0, 0, errors.New("the section header has no byte order")
		}
		g.started = true
	}
	if !g.started {
		return 0, 0, 0, errors.New("no section header")
	}
	typ, length = g.u32(b), g.u32(b[4:])
	if length < ngBlockBytes || length%4 != 0 {
		return 0, 0, 0, fmt.Errorf("a block of %d bytes cannot be", length)
	}
	return typ, length, ngBlockBytes, nil
}

func ngReadWhole(typ uint32) bool {
	switch typ {
	case ngSection, ngInterface, ngPacket, ngSimple, ngEnhanced:
		return true
	default:
		return false
	}
}

// block reads the body of one block.
func (g *ngReader) block(typ uint32, body []byte, frames []models.Frame) ([]models.Frame, error) {
	switch typ {
	case ngSection:
		return frames, g.section(body)
	case ngInterface:
		return frames, g.iface(body)
	case ngSimple:
		return g.simple(body, frames)
	default:
		return g.packet(typ, body, frames)
	}
}

// section starts a new section: its interfaces are counted anew.
func (g *ngReader) section(body []byte) error {
	if len(body) < 16 {
		return errors.New("the section header is too short")
	}
	if major := g.u16(body[4:]); major != 1 {
		return fmt.Errorf("pcapng version %d is not supported, 1 is", major)
	}
	g.first += len(g.ifs)
	g.ifs = g.ifs[:0]
	return nil
}

func (g *ngReader) iface(body []byte) error {
	if len(body) < 8 {
		return errors.New("the interface block is too short")
	}
	if len(g.ifs) == maxNgIfs {
		return fmt.Errorf("more than %d interfaces", maxNgIfs)
	}
	i := ngIface{field: uint32(g.u16(body)), snaplen: g.u32(body[4:]), clock: ngClock{resol: 6}}
	i.link, i.known = linkType(i.field)
	for opts := body[8:]; len(opts) >= 4; {
		code, n := g.u16(opts), int(g.u16(opts[2:]))
		padded := 4 + (n+3)&^3
		if code == ngOptEnd {
			break
		}
		if padded > len(opts) {
			return errors.New("an option is longer than its interface block")
		}
		switch value := opts[4 : 4+n]; {
		case code == ngOptTSResol && n == 1:
			i.clock.resol = value[0]
		case code == ngOptTSOffset && n == 8:
			i.clock.offset = int64(g.u64(value))
		}
		opts = opts[padded:]
	}
	g.ifs = append(g.ifs, i)
	return nil
}

// packet reads an enhanced packet, or an obsolete one, which differs in the first word only.
func (g *ngReader) packet(typ uint32, body []byte, frames []models.Frame) ([]models.Frame, error) {
	const fixed = 20
	if len(body) < fixed {
		return frames, errors.New("the packet block is too short")
	}
	id := g.u32(body)
	if typ == ngPacket {
		id = uint32(g.u16(body))
	}
	stamp := uint64(g.u32(body[4:]))<<32 | uint64(g.u32(body[8:]))
	incl, orig := g.u32(body[12:]), g.u32(body[16:])
	if incl > maxFrame {
		return frames, tooLong(incl)
	}
	if int(incl) > len(body)-fixed {
		return frames, fmt.Errorf("a frame of %d bytes does not fit its block", incl)
	}
	if id >= uint32(len(g.ifs)) {
		return frames, fmt.Errorf("interface %d has not been described", id)
	}
	g.lastTS = g.ifs[id].clock.micros(stamp)
	end := fixed + int(incl)
	return g.add(id, body[fixed:end:end], orig, frames), nil
}

// simple reads a simple packet: of the section's first interface, without a time, cut to that interface's snap length.
func (g *ngReader) simple(body []byte, frames []models.Frame) ([]models.Frame, error) {
	const fixed = 4
	if len(body) < fixed {
		return frames, errors.New("the packet block is too short")
	}
	if len(g.ifs) == 0 {
		return frames, errors.New("interface 0 has not been described")
	}
	orig := g.u32(body)
	incl := orig
	if s := g.ifs[0].snaplen; s > 0 {
		incl = min(incl, s)
	}
	incl = min(incl, uint32(len(body)-fixed))
	if incl > maxFrame {
		return frames, tooLong(incl)
	}
	end := fixed + int(incl)
	return g.add(0, body[fixed:end:end], orig, frames), nil
}

func (g *ngReader) add(id uint32, data []byte, orig uint32, frames []models.Frame) []models.Frame {
	i := &g.ifs[id]
	if !i.known {
		g.skip++
		g.skipLink = i.field
		return frames
	}
	return append(frames, models.Frame{
		TS:      g.lastTS,
		Data:    data,
		WireLen: orig,
		Link:    i.link,
		Iface:   uint16(min(g.first+int(id), math.MaxUint16)),
	})
}

// ngClock is how an interface counts time: if_tsresol (a power of ten, or of two if the top bit is set, per second) and
// if_tsoffset (seconds to add).
type ngClock struct {
	resol  byte
	offset int64
}

// micros converts a time stamp to microseconds since the Unix epoch, cut, and kept within minTS and maxTS.
func (c ngClock) micros(stamp uint64) int64 {
	us := min(c.scaled(stamp), maxTS)
	const offsetMax = maxTS / 1_000_000 * 2
	offset := min(max(c.offset, -offsetMax), offsetMax)
	return min(max(int64(us)+offset*1_000_000, minTS), maxTS)
}

// scaled converts a time stamp to microseconds; what does not fit is the largest number.
func (c ngClock) scaled(stamp uint64) uint64 {
	exp := uint(c.resol & 0x7f)
	switch {
	case c.resol == 6:
		return stamp
	case c.resol == 9:
		return stamp / 1000 // the common one: a division by a constant
	case c.resol&0x80 != 0:
		hi, lo := bits.Mul64(stamp, 1_000_000)
		return shifted(hi, lo, exp)
	case exp > 6:
		for ; exp > 6 && stamp > 0; exp-- {
			stamp /= 10
		}
		return stamp
	default:
		for ; exp < 6; exp++ {
			if stamp > maxTS {
				return math.MaxUint64
			}
			stamp *= 10
		}
		return stamp
	}
}

// shifted is the 128-bit number hi, lo shifted right by n, or the largest number if that does not fit.
func shifted(hi, lo uint64, n uint) uint64 {
	switch {
	case n >= 128:
		return 0
	case n >= 64:
		return hi >> (n - 64)
	case hi>>n != 0:
		return math.MaxUint64
	default:
		return hi<<(64-n) | lo>>n
	}
}
