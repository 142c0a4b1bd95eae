package decode

import "math"

// The Shannon entropy of a payload of n bytes is log2(n) - (1/n) * sum(c*log2(c)) over the counts c of its byte values.
// With c*log2(c) from a fixed-point table the sum is an integer, exact and the same on every machine.
const (
	fixedPoint   = 32     // fractional bits of the table
	tableCounts  = 16_384 // counts with a table entry: 128 KiB; larger ones are computed (GRO frames of one value)
	shortPayload = 128    // up to here counting up and undoing beats clearing and summing 256 buckets (measured)
)

// histogram counts byte values. It is all zero between uses.
type histogram [256]uint16

var nLogN = makeNLogN() //nolint:gochecknoglobals // a constant table that Go cannot write as a constant

func makeNLogN() *[tableCounts]uint64 {
	t := new([tableCounts]uint64)
	for n := 2; n < tableCounts; n++ {
		t[n] = fixedNLogN(n)
	}
	return t
}

func fixedNLogN(n int) uint64 {
	return uint64(math.Round(float64(n) * math.Log2(float64(n)) * (1 << fixedPoint)))
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
	var whole uint64
	if n < tableCounts {
		whole = nLogN[n]
	} else {
		whole = fixedNLogN(n)
	}
	// (whole-sum)/n is the entropy with fixedPoint fractional bits, at most 8 << 32.
	bits := (whole - min(sum, whole)) / uint64(n)
	return uint32((bits*10_000 + 1<<(fixedPoint-1)) >> fixedPoint)
}

// countShort sums c*log2(c) as the counts grow, one table difference a byte, then takes the counts back.
func (h *histogram) countShort(b []byte) (sum uint64) {
	for _, v := range b {
		c := h[v] & (shortPayload*2 - 1)
		sum += nLogN[c+1] - nLogN[c]
		h[v] = c + 1
	}
	for _, v := range b {
		h[v] = 0
	}
	return sum
}

// count fills the histogram, then sums and clears its 256 buckets.
func (h *histogram) count(b []byte) (sum uint64) {
	for ; len(b) >= 8; b = b[8:] {
		h[b[0]]++
		h[b[1]]++
		h[b[2]]++
		h[b[3]]++
		h[b[4]]++
		h[b[5]]++
		h[b[6]]++
		h[b[7]]++
	}
	for _, v := range b {
		h[v]++
	}
	for i, c := range h {
		if int(c) < tableCounts {
			sum += nLogN[c]
		} else {
			sum += fixedNLogN(int(c))
		}
		h[i] = 0
	}
	return sum
}
