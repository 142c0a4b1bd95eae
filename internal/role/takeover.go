package role

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"

	"netlyra/internal/detect"
)

// A checkpoint of a sensor's stream, as it is kept in netlyra.state, is one zstd frame of: takeoverMagic, the version (1 byte), place's numbers
// (little-endian), the boots that have been left (their number, 1 byte, then 8 bytes each), and the judge's checkpoint.
const (
	takeoverMagic   = "NLyr"
	takeoverVersion = 2
	maxLeft         = 16
)

// place is where in its log, and in its sensor's stream, a detector stands between two slots.
type place struct {
	next  int64    // offset of the first record that has not been judged
	heard int64    // offset of the sensor's last record
	any   bool     // boot and seq are those of a record
	boot  uint64   // of the sensor's start that is followed
	seq   uint64   // of the next record
	last  int64    // slot judged last
	left  []uint64 // earlier starts of the sensor, the latest last
}

// A checkpoint that cannot be used is one of these, or one of the detector's errors.
var (
	errTakeoverDamaged = errors.New("not a checkpoint, or a damaged one")
	errTakeoverOther   = errors.New("a checkpoint of another version of netlyra")
)

// takeoverCodec writes and reads checkpoints. It is not for several goroutines at once.
type takeoverCodec struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
	plain   []byte
	packed  []byte
}

func newTakeoverCodec() (*takeoverCodec, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	const window = 8 << 20
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(detect.MaxCheckpointBytes), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return nil, err
	}
	return &takeoverCodec{encoder: e, decoder: d}, nil
}

// encode writes a checkpoint, which is valid until the next call.
func (c *takeoverCodec) encode(p *place, judge func([]byte) []byte) []byte {
	le := binary.LittleEndian
	b := append(append(c.plain[:0], takeoverMagic...), takeoverVersion)
	b = le.AppendUint64(b, uint64(p.next))
	b = le.AppendUint64(b, uint64(p.heard))
	b = append(b, 0)
	if p.any {
		b[len(b)-1] = 1
	}
	b = le.AppendUint64(b, p.boot)
	b = le.AppendUint64(b, p.seq)
	b = le.AppendUint64(b, uint64(p.last))
	b = append(b, byte(len(p.left)))
	for _, boot := range p.left {
		b = le.AppendUint64(b, boot)
	}
	c.plain = judge(b)
	c.packed = c.encoder.EncodeAll(c.plain, c.packed[:0])
	return c.packed
}

// decode reads a checkpoint: where it was taken, and the judge's part, valid until the next call.
func (c *takeoverCodec) decode(b []byte) (p place, judge []byte, err error) {
	plain, err := c.decoder.DecodeAll(b, c.plain[:0])
	c.plain = plain[:0]
	if err != nil {
		return p, nil, fmt.Errorf("%w: %w", errTakeoverDamaged, err)
	}
	const numbers = 2*8 + 1 + 3*8
	at := len(takeoverMagic)
	if len(plain) < at+1 || string(plain[:at]) != takeoverMagic {
		return p, nil, fmt.Errorf("%w: it does not begin like one", errTakeoverDamaged)
	}
	if v := plain[at]; v != takeoverVersion {
		return p, nil, fmt.Errorf("%w: its format is %d, this one's is %d", errTakeoverOther, v, takeoverVersion)
	}
	plain = plain[at+1:]
	if len(plain) < numbers+1 || plain[16] > 1 || plain[numbers] > maxLeft || len(plain) < numbers+1+8*int(plain[numbers]) {
		return p, nil, fmt.Errorf("%w: what it says cannot be", errTakeoverDamaged)
	}
	le := binary.LittleEndian
	p = place{
		next: int64(le.Uint64(plain)), heard: int64(le.Uint64(plain[8:])), any: plain[16] == 1,
		boot: le.Uint64(plain[17:]), seq: le.Uint64(plain[25:]), last: int64(le.Uint64(plain[33:])),
	}
	if p.next < 0 || p.heard < 0 {
		return p, nil, fmt.Errorf("%w: offsets %d, %d", errTakeoverDamaged, p.next, p.heard)
	}
	left := int(plain[numbers])
	plain = plain[numbers+1:]
	for i := range left {
		p.left = append(p.left, le.Uint64(plain[8*i:]))
	}
	return p, plain[8*left:], nil
}

// leave notes that the sensor's start that was followed is over. Copies of the place are as before.
func (p *place) leave() {
	p.left = append(slices.Clone(p.left[max(0, len(p.left)-maxLeft+1):]), p.boot)
}
