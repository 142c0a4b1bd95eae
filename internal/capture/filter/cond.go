package filter

import "golang.org/x/net/bpf"

type condKind uint8

const (
	condTrue condKind = iota
	condFalse
	condTest   // compares a value of the packet with a number
	condCode   // runs code, and compares what it leaves in A
	condAction // runs code, and is true
	condNot
	condAnd
	condOr
)

// cond is a condition on a packet. What is joined by and and or is tested from left to right, and no further than needed:
// the order decides over packets that end within their headers, since a load beyond the end rejects the packet, even
// inside a not.
type cond struct {
	kind condKind
	a, b *cond // of not, and, or
	val  value // of condTest
	test test
	code []bpf.RawInstruction
}

// test is a conditional jump: BPF_JEQ, BPF_JGT, BPF_JGE or BPF_JSET, with K or, by BPF_X, with X.
type test struct {
	op uint16
	k  uint32
}

func constant(truth bool) *cond {
	if truth {
		return &cond{kind: condTrue}
	}
	return &cond{kind: condFalse}
}

func equal(v value, k uint32) *cond { return &cond{kind: condTest, val: v, test: test{jeq, k}} }
func not(a *cond) *cond             { return &cond{kind: condNot, a: a} }
func join(or bool, a, b *cond) *cond {
	if or {
		return &cond{kind: condOr, a: a, b: b}
	}
	return &cond{kind: condAnd, a: a, b: b}
}

// and needs all of cs.
func and(cs ...*cond) *cond { return chain(false, cs) }

// or needs one of cs.
func or(cs ...*cond) *cond { return chain(true, cs) }

func chain(or bool, cs []*cond) *cond {
	c := cs[0]
	for _, next := range cs[1:] {
		c = join(or, c, next)
	}
	return c
}

// valueBase says from where a value's offset counts.
type valueBase uint8

const (
	baseNone    valueBase = iota // no value
	baseFrame                    // the frame's start
	basePayload                  // the end of the IPv4 header that begins at header
	baseLength                   // the packet's length; there is no offset
)

// value is a number read from a packet, with a mask. Two values that are equal are of one content.
type value struct {
	base    valueBase
	size    uint8  // 1, 2 or 4 bytes
	tagged  bool   // the content of tagRegister is added to the offset
	offset  uint32 // from the frame's start; for basePayload from the header's start, whose length is added
	header  uint32 // of basePayload: where the IPv4 header begins
	masked  bool   // only the bits of mask count
	bitMask uint32
}

func (v value) and(mask uint32) value {
	if v.masked {
		mask &= v.bitMask
	}
	v.masked, v.bitMask = true, mask
	return v
}

// whole is the value without its mask.
func (v value) whole() value {
	v.masked, v.bitMask = false, 0
	return v
}

// The machine's instructions (linux/bpf_common.h), as they are combined.
const (
	ld     uint16 = 0x00
	ldx    uint16 = 0x01
	st     uint16 = 0x02
	stx    uint16 = 0x03
	alu    uint16 = 0x04
	jmp    uint16 = 0x05
	ret    uint16 = 0x06
	misc   uint16 = 0x07
	word   uint16 = 0x00
	half   uint16 = 0x08
	octet  uint16 = 0x10
	imm    uint16 = 0x00
	abs    uint16 = 0x20
	ind    uint16 = 0x40
	mem    uint16 = 0x60
	length uint16 = 0x80
	msh    uint16 = 0xa0
	add    uint16 = 0x00
	sub    uint16 = 0x10
	mul    uint16 = 0x20
	div    uint16 = 0x30
	bitOr  uint16 = 0x40
	bitAnd uint16 = 0x50
	lsh    uint16 = 0x60
	rsh    uint16 = 0x70
	neg    uint16 = 0x80
	mod    uint16 = 0x90
	bitXor uint16 = 0xa0
	always uint16 = 0x00
	jeq    uint16 = 0x10
	jgt    uint16 = 0x20
	jge    uint16 = 0x30
	jset   uint16 = 0x40
	withX  uint16 = 0x08
	retA   uint16 = 0x10
	tax    uint16 = 0x00
	txa    uint16 = 0x80
)

func op(code uint16, k uint32) bpf.RawInstruction { return bpf.RawInstruction{Op: code, K: k} }

func sizeCode(size uint8) uint16 {
	switch size {
	case 1:
		return octet
	case 2:
		return half
	default:
		return word
	}
}
