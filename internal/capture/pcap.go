package capture

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"netlyra/internal/models"
)

const (
	pcapHeaderBytes  = 24
	pcapRecordBytes  = 16
	pcapPatchedBytes = 24 // as Alexey Kuznetsov's libpcap patch wrote it: interface, protocol and direction follow
)

// The first four bytes of a pcap file, read as a little-endian number.
const (
	pcapMicro   = 0xa1b2c3d4
	pcapNano    = 0xa1b23c4d
	pcapPatched = 0xa1b2cd34
)

// pcapMagics are the first bytes of all variants in either order.
func pcapMagics() [][]byte {
	var all [][]byte
	for _, m := range []uint32{pcapMicro, pcapNano, pcapPatched} {
		all = append(all, binary.LittleEndian.AppendUint32(nil, m), binary.BigEndian.AppendUint32(nil, m))
	}
	return all
}

// pcapReader parses the classic format.
type pcapReader struct {
	link       models.LinkType
	header     int  // length of a record's header
	swapped    bool // fields are big-endian
	nano       bool
	lenSwapped bool // format version 2.2 and older had the two lengths the other way round
}

// newPcapReader recognises the format by its first four bytes.
func newPcapReader(magic []byte) (*pcapReader, bool) {
	p := &pcapReader{header: pcapRecordBytes}
	m := binary.LittleEndian.Uint32(magic)
	if m&0xff == 0xa1 {
		p.swapped = true
		m = bits.ReverseBytes32(m)
	}
	switch m {
	case pcapMicro:
	case pcapNano:
		p.nano = true
	case pcapPatched:
		p.header = pcapPatchedBytes
	default:
		return nil, false
	}
	return p, true
}

// readHeader takes the file's header and gives its link type field.
func (p *pcapReader) readHeader(b []byte) uint32 {
	var order binary.ByteOrder = binary.LittleEndian
	if p.swapped {
		order = binary.BigEndian
	}
	major, minor := order.Uint16(b[4:]), order.Uint16(b[6:])
	p.lenSwapped = major < 2 || major == 2 && minor < 3
	return order.Uint32(b[20:])
}

func (p *pcapReader) skipped() (uint64, uint32) { return 0, 0 }

func (p *pcapReader) parse(w *window, frames []models.Frame) ([]models.Frame, int, error) {
	for len(frames) < maxBatch {
		rest := w.rest()
		if len(rest) < p.header {
			return frames, p.header, nil
		}
		sec, frac := binary.LittleEndian.Uint32(rest), binary.LittleEndian.Uint32(rest[4:])
		incl, orig := binary.LittleEndian.Uint32(rest[8:]), binary.LittleEndian.Uint32(rest[12:])
		if p.swapped {
			sec, frac = bits.ReverseBytes32(sec), bits.ReverseBytes32(frac)
			incl, orig = bits.ReverseBytes32(incl), bits.ReverseBytes32(orig)
		}
		if p.lenSwapped {
			incl, orig = orig, incl
		}
		if p.nano {
			frac /= 1000
		}
		if incl > maxFrame {
			return frames, 0, tooLong(incl)
		}
		end := p.header + int(incl)
		if len(rest) < end {
			return frames, end, nil
		}
		frames = append(frames, models.Frame{
			TS:      int64(sec)*1e6 + int64(frac),
			Data:    rest[p.header:end:end],
			WireLen: orig,
			Link:    p.link,
		})
		w.take(end)
	}
	return frames, 0, nil
}

func tooLong(n uint32) error {
	return fmt.Errorf("a frame of %d bytes is claimed, %d is the most there can be", n, maxFrame)
}
