package capture

import (
	"bytes"
	"encoding/binary"
	"testing"

	"netlyra/internal/models"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// pcapFile writes frames in the classic format.
func pcapFile(order binary.AppendByteOrder, magic, link uint32, frames []models.Frame) []byte {
	b := order.AppendUint32(nil, magic)
	b = order.AppendUint16(b, 2)
	b = order.AppendUint16(b, 4)
	b = order.AppendUint64(b, 0)
	b = order.AppendUint32(b, maxFrame)
	b = order.AppendUint32(b, link)
	for _, f := range frames {
		frac := f.TS % 1e6
		if magic == pcapNano {
			frac = frac*1000 + 999 // cut, not rounded
		}
		b = order.AppendUint32(b, uint32(f.TS/1e6))
		b = order.AppendUint32(b, uint32(frac))
		b = order.AppendUint32(b, uint32(len(f.Data)))
		b = order.AppendUint32(b, f.WireLen)
		if magic == pcapPatched {
			b = order.AppendUint64(b, 1)
		}
		b = append(b, f.Data...)
	}
	return b
}

// ngFile builds pcapng block by block.
type ngFile struct {
	order binary.AppendByteOrder
	b     []byte
}

func newNgFile(order binary.AppendByteOrder) *ngFile {
	f := &ngFile{order: order}
	f.section()
	return f
}

func (f *ngFile) section() {
	body := f.order.AppendUint32(nil, ngByteOrder)
	body = f.order.AppendUint16(body, 1)
	body = f.order.AppendUint16(body, 0)
	f.block(ngSection, f.order.AppendUint64(body, ^uint64(0)))
}

func (f *ngFile) block(typ uint32, body []byte) {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	n := uint32(len(body) + ngBlockBytes)
	f.b = f.order.AppendUint32(f.b, typ)
	f.b = f.order.AppendUint32(f.b, n)
	f.b = append(f.b, body...)
	f.b = f.order.AppendUint32(f.b, n)
}

type ngOption struct {
	code  uint16
	value []byte
}

func (f *ngFile) iface(link, snaplen uint32, opts ...ngOption) {
	body := f.order.AppendUint16(nil, uint16(link))
	body = f.order.AppendUint16(body, 0)
	body = f.order.AppendUint32(body, snaplen)
	for _, o := range opts {
		body = f.order.AppendUint16(body, o.code)
		body = f.order.AppendUint16(body, uint16(len(o.value)))
		body = append(body, o.value...)
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
	}
	if len(opts) > 0 {
		body = f.order.AppendUint32(body, ngOptEnd)
	}
	f.block(ngInterface, body)
}

func (f *ngFile) packet(iface uint32, stamp uint64, orig uint32, data []byte) {
	body := f.order.AppendUint32(nil, iface)
	f.block(ngEnhanced, append(f.packetTail(body, stamp, orig, data), 0))
}

func (f *ngFile) oldPacket(iface uint16, stamp uint64, orig uint32, data []byte) {
	body := f.order.AppendUint16(nil, iface)
	body = f.order.AppendUint16(body, 7) // drops
	f.block(ngPacket, f.packetTail(body, stamp, orig, data))
}

func (f *ngFile) packetTail(body []byte, stamp uint64, orig uint32, data []byte) []byte {
	body = f.order.AppendUint32(body, uint32(stamp>>32))
	body = f.order.AppendUint32(body, uint32(stamp))
	body = f.order.AppendUint32(body, uint32(len(data)))
	body = f.order.AppendUint32(body, orig)
	body = append(body, data...)
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	return body
}

func (f *ngFile) simple(orig uint32, data []byte) {
	f.block(ngSimple, append(f.order.AppendUint32(nil, orig), data...))
}

// ngOf writes frames as enhanced packets of one interface, with its default clock.
func ngOf(order binary.AppendByteOrder, frames []models.Frame) []byte {
	f := newNgFile(order)
	f.iface(uint32(models.LinkEthernet), 0)
	for _, fr := range frames {
		f.packet(0, uint64(fr.TS), fr.WireLen, fr.Data)
	}
	return f.b
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

// sample is frames of many sizes, those at the borders among them.
func sample() []models.Frame {
	var frames []models.Frame
	for i, n := range []int{60, 0, 1, 1514, 61, 62, 63, 65535, 9000, maxFrame, 60} {
		data := bytes.Repeat([]byte{byte(i + 1)}, n)
		frames = append(frames, models.Frame{
			TS: 1_700_000_000_000_000 + int64(i)*999_983, Data: data, WireLen: uint32(n + i%2*100), Link: models.LinkEthernet,
		})
	}
	return frames
}
