package filter

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"

	"netlyra/internal/models"
)

// Matcher runs a program on frames. It may be used from several goroutines.
type Matcher struct {
	program []instruction
}

// instruction is one of the machine's, with its code among few enough for a jump table.
type instruction struct {
	code   matchCode
	yes    uint8
	no     uint8
	number uint32
}

type matchCode uint8

const (
	matchLoad4 matchCode = iota
	matchLoad2
	matchLoad1
	matchIndirect4
	matchIndirect2
	matchIndirect1
	matchTag
	matchTagPresent
	matchTagType
	matchHeader // X: the length of the IPv4 header at an offset
	matchNumber
	matchNumberX
	matchLength
	matchLengthX
	matchRead
	matchReadX
	matchStore
	matchStoreX
	matchToX
	matchToA
	matchJump
	matchEqual
	matchGreater
	matchAtLeast
	matchBits
	matchEqualX
	matchGreaterX
	matchAtLeastX
	matchBitsX
	matchReturn
	matchReturnA
	matchNegate
	matchArithmetic // and what follows, in the order of arithmetics
)

// matchCodes is the machine's code of each matchCode up to matchNegate; three loads of metadata have none of their own.
func matchCodes() map[uint16]matchCode {
	return map[uint16]matchCode{
		ld | word | abs: matchLoad4, ld | half | abs: matchLoad2, ld | octet | abs: matchLoad1,
		ld | word | ind: matchIndirect4, ld | half | ind: matchIndirect2, ld | octet | ind: matchIndirect1,
		ldx | octet | msh: matchHeader, ld | imm: matchNumber, ldx | imm: matchNumberX, ld | length: matchLength, ldx | length: matchLengthX,
		ld | mem: matchRead, ldx | mem: matchReadX, st: matchStore, stx: matchStoreX, misc | tax: matchToX, misc | txa: matchToA,
		jmp | always: matchJump,
		jmp | jeq:    matchEqual, jmp | jgt: matchGreater, jmp | jge: matchAtLeast, jmp | jset: matchBits,
		jmp | jeq | withX: matchEqualX, jmp | jgt | withX: matchGreaterX, jmp | jge | withX: matchAtLeastX, jmp | jset | withX: matchBitsX,
		ret: matchReturn, ret | retA: matchReturnA, alu | neg: matchNegate,
	}
}

// arithmetics are the operators of the machine's arithmetic, each with a number and with X.
func arithmetics() []uint16 {
	return []uint16{add, sub, mul, div, mod, bitAnd, bitOr, bitXor, lsh, rsh}
}

// codeOf translates a machine code.
func codeOf(code uint16) (matchCode, bool) {
	if c, ok := matchCodes()[code]; ok {
		return c, true
	}
	for i, o := range arithmetics() {
		switch code {
		case alu | o:
			return matchArithmetic + matchCode(2*i), true
		case alu | o | withX:
			return matchArithmetic + matchCode(2*i+1), true
		}
	}
	return 0, false
}

// NewMatcher checks a program. Beyond what ReadProgram demands, it must ask for no metadata but a stripped VLAN tag: other
// ancillary loads are the kernel's.
func NewMatcher(program []bpf.RawInstruction) (*Matcher, error) {
	if err := validate(program); err != nil {
		return nil, err
	}
	m := &Matcher{program: make([]instruction, len(program))}
	for i, in := range program {
		code, _ := codeOf(in.Op) // validate has found it
		if code <= matchLoad1 && in.K >= firstMetadata {
			switch in.K {
			case ancTag:
				code = matchTag
			case ancTagPresent:
				code = matchTagPresent
			case ancTagType:
				code = matchTagType
			default:
				return nil, fmt.Errorf("filter: instruction %d loads metadata (%d) that only the kernel has: such a program filters interfaces, not files", i, int32(in.K))
			}
		}
		m.program[i] = instruction{code, in.Jt, in.Jf, in.K}
	}
	return m, nil
}

// firstMetadata is the first offset at which there are no bytes, but what the kernel alone knows.
const firstMetadata = 1 << 31

// Match says whether the program accepts the frame: it returns anything but 0. As in the kernel, a load beyond the end of
// the frame and a division by 0 reject it; a shift by more than 31 bits leaves 0, as in libpcap. The packet's length is the
// frame's on the wire, without a tag that is not in its bytes. Match does not allocate.
func (m *Matcher) Match(f *models.Frame) bool {
	var a, x uint32
	var scratch [16]uint32
	data := f.Data
	program := m.program
	for pc := 0; pc < len(program); pc++ {
		in := &program[pc]
		n := in.number
		ok := true
		switch in.code {
		case matchLoad4:
			a, ok = load4(data, uint64(n))
		case matchLoad2:
			a, ok = load2(data, uint64(n))
		case matchLoad1:
			a, ok = load1(data, uint64(n))
		case matchIndirect4:
			a, ok = load4(data, uint64(x)+uint64(n))
		case matchIndirect2:
			a, ok = load2(data, uint64(x)+uint64(n))
		case matchIndirect1:
			a, ok = load1(data, uint64(x)+uint64(n))
		case matchTag:
			a = uint32(f.TCI)
		case matchTagPresent:
			a = 0
			if f.TPID != 0 {
				a = 1
			}
		case matchTagType:
			a = uint32(f.TPID)
		case matchHeader:
			x, ok = load1(data, uint64(n))
			x = x & 0x0f << 2
		case matchNumber:
			a = n
		case matchNumberX:
			x = n
		case matchLength:
			a = byteLength(f)
		case matchLengthX:
			x = byteLength(f)
		case matchRead:
			a = scratch[n&15]
		case matchReadX:
			x = scratch[n&15]
		case matchStore:
			scratch[n&15] = a
		case matchStoreX:
			scratch[n&15] = x
		case matchToX:
			x = a
		case matchToA:
			a = x
		case matchJump:
			pc += int(n)
		case matchEqual:
			pc += in.skip(a == n)
		case matchGreater:
			pc += in.skip(a > n)
		case matchAtLeast:
			pc += in.skip(a >= n)
		case matchBits:
			pc += in.skip(a&n != 0)
		case matchEqualX:
			pc += in.skip(a == x)
		case matchGreaterX:
			pc += in.skip(a > x)
		case matchAtLeastX:
			pc += in.skip(a >= x)
		case matchBitsX:
			pc += in.skip(a&x != 0)
		case matchReturn:
			return n != 0
		case matchReturnA:
			return a != 0
		case matchNegate:
			a = -a
		default:
			c := in.code - matchArithmetic
			if c&1 == 1 {
				n = x
			}
			a, ok = calculate(c>>1, a, n)
		}
		if !ok {
			return false
		}
	}
	return false // not reached: validate wants a return at the end
}

func (in *instruction) skip(taken bool) int {
	if taken {
		return int(in.yes)
	}
	return int(in.no)
}

// byteLength is the packet's length without a tag that the kernel has taken out.
func byteLength(f *models.Frame) uint32 {
	if f.TPID != 0 {
		return f.WireLen - tagBytes
	}
	return f.WireLen
}

func load4(b []byte, at uint64) (uint32, bool) {
	if at+4 > uint64(len(b)) {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[at:]), true
}

func load2(b []byte, at uint64) (uint32, bool) {
	if at+2 > uint64(len(b)) {
		return 0, false
	}
	return uint32(binary.BigEndian.Uint16(b[at:])), true
}

func load1(b []byte, at uint64) (uint32, bool) {
	if at >= uint64(len(b)) {
		return 0, false
	}
	return uint32(b[at]), true
}

// calculate does one of arithmetics.
func calculate(index matchCode, a, b uint32) (uint32, bool) {
	switch index {
	case 0:
		return a + b, true
	case 1:
		return a - b, true
	case 2:
		return a * b, true
	case 3:
		if b == 0 {
			return 0, false
		}
		return a / b, true
	case 4:
		if b == 0 {
			return 0, false
		}
		return a % b, true
	case 5:
		return a & b, true
	case 6:
		return a | b, true
	case 7:
		return a ^ b, true
	case 8:
		return a << b, true
	default:
		return a >> b, true
	}
}
