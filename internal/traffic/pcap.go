package traffic

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"netlyra/internal/models"
)

// WritePcap reads the stream to its end and writes it as a capture: pcap, little-endian, microseconds, Ethernet. It returns the number of
// packets.
func (s *Stream) WritePcap(w io.Writer) (packets uint64, err error) {
	out := bufio.NewWriterSize(w, 1<<20)
	var h [24]byte
	binary.LittleEndian.PutUint32(h[0:], 0xa1b2c3d4)
	binary.LittleEndian.PutUint16(h[4:], 2)
	binary.LittleEndian.PutUint16(h[6:], 4)
	binary.LittleEndian.PutUint32(h[16:], 65_535)
	binary.LittleEndian.PutUint32(h[20:], uint32(models.LinkEthernet))
	_, _ = out.Write(h[:]) // bufio keeps the error for Flush
	var b models.Batch
	for {
		end := s.Read(&b)
		for i := range b.Frames {
			f := &b.Frames[i]
			binary.LittleEndian.PutUint32(h[0:], uint32(f.TS/1e6))
			binary.LittleEndian.PutUint32(h[4:], uint32(f.TS%1e6))
			binary.LittleEndian.PutUint32(h[8:], uint32(len(f.Data)))
			binary.LittleEndian.PutUint32(h[12:], f.WireLen)
			_, _ = out.Write(h[:16])
			if _, err := out.Write(f.Data); err != nil {
				return packets, errors.Join(err, s.Close())
			}
		}
		packets += uint64(len(b.Frames))
		if errors.Is(end, io.EOF) {
			return packets, out.Flush()
		}
		if end != nil {
			return packets, errors.Join(end, out.Flush())
		}
	}
}
