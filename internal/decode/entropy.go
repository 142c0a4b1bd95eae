package decode

import (
	"encoding/binary"
	"math"
)

// The Shannon entropy of a payload of n bytes is log2(n) - (1/n) * sum(c*log2(c)) over the counts c of its byte values.
// With c*log2(c) from a fixed-point table the sum is an integer, exact and the same on every machine.
const (
	fixedPoint   = 32  // fractional bits of the table
	shortPayload = 128 // up to here counting up and undoing beats clearing and summing 256 buckets (measured)
)

// histogram counts byte values. It is all zero between uses.
type histogram [256]uint16

// nLogN has an entry for every count that a histogram can hold, so that reading it needs no check; ordinary packets touch the first few.
var nLogN = makeNLogN() //nolint:gochecknoglobals // a constant table that Go cannot write as a constant

func makeNLogN() *[math.MaxUint16 + 1]uint64 {
	t := new([math.MaxUint16 + 1]uint64)
	for n := 2; n < len(t); n++ {
		t[n] = uint64(math.Round(float64(n) * math.Log2(float64(n)) * (1 << fixedPoint)))
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
		c := h[v]
		sum += nLogN[c+1] - nLogN[c]
		h[v] = c + 1
	}
	for _, v := range b {
		h[v] = 0
	}
	return sum
}

// count fills the histogram, then sums its 256 buckets, four chains of additions side by side, and clears it.
func (h *histogram) count(b []byte) uint64 {
	for ; len(b) >= 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		h[uint8(x)]++
		h[uint8(x>>8)]++
		h[uint8(x>>16)]++
		h[uint8(x>>24)]++
		h[uint8(x>>32)]++
		h[uint8(x>>40)]++
		h[uint8(x>>48)]++
		h[uint8(x>>56)]++
	}
	for _, v := range b {
		h[v]++
	}
	var s0, s1, s2, s3 uint64
	for q := h[:]; len(q) >= 4; q = q[4:] {
		s0 += nLogN[q[0]]
		s1 += nLogN[q[1]]
		s2 += nLogN[q[2]]
		s3 += nLogN[q[3]]
	}
	*h = histogram{}
	return s0 + s1 + s2 + s3
}
