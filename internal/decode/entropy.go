package decode

import (
	"encoding/binary"
	"math"
)

// The Shannon entropy of a payload of n bytes is log2(n) - (1/n) * sum(c*log2(c)) over the counts c of its byte values.
// With c*log2(c) from a fixed-point table the sum is an integer, exact and the same on every machine.
const (
	fixedPoint   = 32 // fractional bits of the table
	shortPayload = 96 // up to here counting up and undoing beats clearing and summing 256 buckets (measured)
)

// histogram counts byte values, 65,535 of one at most. It is all zero between uses. Counters of 32 bits where 16 would do: the compiler
// adds to them in memory with one instruction (a quarter less time, measured).
type histogram [256]uint32

// nLogN has an entry for every count that a histogram can hold, so that reading it needs no check; ordinary packets touch the first few.
var nLogN = makeNLogN() //nolint:gochecknoglobals // a constant table that Go cannot write as a constant

func makeNLogN() *[math.MaxUint16 + 1]uint64 {
	t := new([math.MaxUint16 + 1]uint64)
	for n := 2; n < len(t); n++ {
		t[n] = uint64(math.Round(float64(n) * math.Log2(float64(n)) * (1 << fixedPoint)))
	}
	return t
}

// stepNLogN is what one more of a byte value adds: (c+1)*log2(c+1) - c*log2(c).
var stepNLogN = makeStepNLogN() //nolint:gochecknoglobals // as above

func makeStepNLogN() *[256]uint64 {
	t := new([256]uint64)
	for c := range t {
		t[c] = nLogN[c+1] - nLogN[c]
	}
	return t
}

// Entropy is the Shannon entropy of payload in 1e-4 bit per byte, 0 to 80000, rounded to nearest; of nothing it is 0. More
// than 65,535 bytes are cut to that.
func (d *Decoder) Entropy(payload []byte) uint32 {
	n := min(len(payload), math.MaxUint16)
	if n < 2 {
		return 0
	}
	payload = payload[:n]
	var sum uint64
	if n <= shortPayload {
		sum = d.hist.countShort(payload)
	} else {
		sum = d.hist.count(payload)
	}
	whole := nLogN[n]
	// (whole-sum)/n is the entropy with fixedPoint fractional bits, at most 8 << 32.
	bits := (whole - min(sum, whole)) / uint64(n)
	return uint32((bits*10_000 + 1<<(fixedPoint-1)) >> fixedPoint)
}

// countShort sums c*log2(c) as the counts grow, one table difference a byte, then takes the counts back.
func (h *histogram) countShort(b []byte) (sum uint64) {
	for _, v := range b {
		sum += stepNLogN[uint8(h[v])]
		h[v]++
	}
	for _, v := range b {
		h[v] = 0
	}
	return sum
}

// count fills the histogram, then sums its 256 buckets, four chains of additions side by side, and clears it. A quarter of the bytes come
// by the word: loads are what the first loop waits for.
func (h *histogram) count(b []byte) uint64 {
	for ; len(b) >= 16; b = b[16:] {
		last := binary.LittleEndian.Uint32(b[12:])
		h[b[0]]++
		h[b[1]]++
		h[b[2]]++
		h[uint8(last)]++
		h[b[3]]++
		h[b[4]]++
		h[b[5]]++
		h[uint8(last>>8)]++
		h[b[6]]++
		h[b[7]]++
		h[b[8]]++
		h[uint8(last>>16)]++
		h[b[9]]++
		h[b[10]]++
		h[b[11]]++
		h[last>>24]++
	}
	for _, v := range b {
		h[v]++
	}
	table := nLogN
	var s0, s1, s2, s3 uint64
	for q := h[:]; len(q) >= 16; q = q[16:] {
		s0 += table[uint16(q[0])]
		s1 += table[uint16(q[1])]
		s2 += table[uint16(q[2])]
		s3 += table[uint16(q[3])]
		s0 += table[uint16(q[4])]
		s1 += table[uint16(q[5])]
		s2 += table[uint16(q[6])]
		s3 += table[uint16(q[7])]
		s0 += table[uint16(q[8])]
		s1 += table[uint16(q[9])]
		s2 += table[uint16(q[10])]
		s3 += table[uint16(q[11])]
		s0 += table[uint16(q[12])]
		s1 += table[uint16(q[13])]
		s2 += table[uint16(q[14])]
		s3 += table[uint16(q[15])]
	}
	*h = histogram{}
	return s0 + s1 + s2 + s3
}
