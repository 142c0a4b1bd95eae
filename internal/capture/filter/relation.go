package filter

import "golang.org/x/net/bpf"

// cond of a comparison: the packet must have every header that bytes are read from, then the bytes are read and compared.
func (n *relationNode) cond(g *generator) *cond {
	left, op, right := n.left, n.op, n.right
	if left.op == arithNumber && right.op != arithNumber {
		left, op, right = right, mirrored(op), left
	}
	var checks []*cond
	checks = g.headers(n.left, checks)
	checks = g.headers(n.right, checks)
	return and(append(checks, g.compare(n, left, op, right))...)
}

func mirrored(op string) string {
	switch op {
	case "<":
		return ">"
	case ">":
		return "<"
	case "<=":
		return ">="
	case ">=":
		return "<="
	default:
		return op
	}
}

// headers appends the conditions under which the bytes can be read. Those of the index come before those of the header
// that it is an index of. Of two operands only the left one's header is tested, as in tcpdump: "ip[0] + tcp[12]" wants IPv4
// only. docs/filter.md says what to write.
func (g *generator) headers(n *arithNode, checks []*cond) []*cond {
	if n == nil {
		return checks
	}
	if n.op != arithLoad {
		return g.headers(n.left, checks)
	}
	switch n.proto {
	case "ether":
		return g.headers(n.left, checks)
	case "ip", "ip6", "arp", "rarp":
		return append(g.headers(n.left, checks), g.protocol(n.proto))
	case "icmp6":
		return append(g.headers(n.left, checks), g.carries(etherIPv6), equal(g.network(1, 6), protoICMPv6))
	default:
		return append(g.headers(n.left, append(checks, g.carries(etherIPv4))), g.protocol(n.proto), g.firstFragment())
	}
}

// compare is the comparison itself.
func (g *generator) compare(n *relationNode, left *arithNode, op string, right *arithNode) *cond {
	if left.op == arithNumber {
		return constant(holds(left.number, op, right.number))
	}
	t, negate := jumpFor(op)
	if right.op == arithNumber {
		t.k = right.number
		if v, ok := g.simple(left); ok {
			return maybeNot(&cond{kind: condTest, val: v, test: t}, negate)
		}
	}
	e := evaluator{g: g, at: n.at}
	if right.op == arithNumber {
		e.eval(left, 0)
		return maybeNot(&cond{kind: condCode, code: e.code, test: t}, negate)
	}
	e.pair(left, right, 0)
	t.op |= withX
	return maybeNot(&cond{kind: condCode, code: e.code, test: t}, negate)
}

func maybeNot(c *cond, negate bool) *cond {
	if negate {
		return not(c)
	}
	return c
}

// jumpFor is the jump that makes a comparison, which may have to be negated.
func jumpFor(op string) (t test, negate bool) {
	switch op {
	case "=":
		return test{op: jeq}, false
	case "!=":
		return test{op: jeq}, true
	case ">":
		return test{op: jgt}, false
	case "<=":
		return test{op: jgt}, true
	case ">=":
		return test{op: jge}, false
	default: // <
		return test{op: jge}, true
	}
}

func holds(a uint32, op string, b uint32) bool {
	t, negate := jumpFor(op)
	t.k = b
	return t.taken(a) != negate
}

// taken says where the jump goes for what is in A.
func (t test) taken(a uint32) bool {
	switch t.op {
	case jeq:
		return a == t.k
	case jgt:
		return a > t.k
	case jge:
		return a >= t.k
	default: // jset
		return a&t.k != 0
	}
}

// simple says that an expression is a value as other conditions have them: it takes part in what is known of those.
func (g *generator) simple(n *arithNode) (value, bool) {
	switch {
	case n.op == arithLen:
		return value{base: baseLength}, true
	case n.op == arithLoad && n.left.op == arithNumber:
		return g.bytesOf(n), true
	case n.op == arithAnd && n.right.op == arithNumber:
		v, ok := g.simple(n.left)
		return v.and(n.right.number), ok
	}
	return value{}, false
}

// bytesOf is a load at a fixed index.
func (g *generator) bytesOf(n *arithNode) value {
	index := n.left.number
	switch n.proto {
	case "ether":
		return frame(n.size, index)
	case "ip", "ip6", "arp", "rarp":
		return g.network(n.size, index)
	case "icmp6":
		return g.network(n.size, 40+index)
	default:
		return g.payload(n.size, index)
	}
}

// evaluator turns arithmetic into code that leaves its result in A.
type evaluator struct {
	g    *generator
	at   int // for errors
	code []bpf.RawInstruction
}

func (e *evaluator) emit(code uint16, k uint32) { e.code = append(e.code, op(code, k)) }

// eval may use scratch memory from depth on.
func (e *evaluator) eval(n *arithNode, depth uint32) {
	if depth >= tagRegister {
		e.g.fail(e.at, "this arithmetic has too many parentheses inside each other")
		return
	}
	switch n.op {
	case arithNumber:
		e.emit(ld|imm, n.number)
	case arithLen:
		e.emit(ld|length, 0)
	case arithLoad:
		e.load(n, depth)
	case arithNeg:
		e.eval(n.left, depth)
		e.emit(misc|tax, 0)
		e.emit(ld|imm, 0)
		e.emit(alu|sub|withX, 0)
	default:
		e.operate(n, depth)
	}
}

func (e *evaluator) operate(n *arithNode, depth uint32) {
	code := aluCode(n.op)
	switch {
	case n.right.op == arithNumber:
		e.eval(n.left, depth)
		e.emit(alu|code, n.right.number)
	case n.op == arithLsh || n.op == arithRsh:
		e.shift(n, depth)
	default:
		e.pair(n.left, n.right, depth)
		e.emit(alu|code|withX, 0)
	}
}

// pair leaves left in A and right in X.
func (e *evaluator) pair(left, right *arithNode, depth uint32) {
	e.eval(left, depth)
	e.emit(st, depth)
	e.eval(right, depth+1)
	e.emit(misc|tax, 0)
	e.emit(ld|mem, depth)
}

// shift by a distance that only the packet tells. Beyond 31 nothing is left, for libpcap; the kernel would go round. So
// the program sees to it.
func (e *evaluator) shift(n *arithNode, depth uint32) {
	e.eval(n.left, depth)
	e.emit(st, depth)
	e.eval(n.right, depth+1)
	e.code = append(e.code, bpf.RawInstruction{Op: jmp | jgt, K: 31, Jt: 4})
	e.emit(misc|tax, 0)
	e.emit(ld|mem, depth)
	e.emit(alu|aluCode(n.op)|withX, 0)
	e.emit(jmp|always, 1)
	e.emit(ld|imm, 0)
}

func aluCode(o arithOp) uint16 {
	switch o {
	case arithAdd:
		return add
	case arithSub:
		return sub
	case arithMul:
		return mul
	case arithDiv:
		return div
	case arithMod:
		return mod
	case arithAnd:
		return bitAnd
	case arithOr:
		return bitOr
	case arithXor:
		return bitXor
	case arithLsh:
		return lsh
	default: // arithRsh
		return rsh
	}
}

// load reads bytes.
func (e *evaluator) load(n *arithNode, depth uint32) {
	if n.left.op == arithNumber {
		e.code = append(e.code, loadCode(e.g.bytesOf(n))...)
		return
	}
	e.eval(n.left, depth)
	zero := *n
	zero.left = &arithNode{op: arithNumber}
	v := e.g.bytesOf(&zero)
	if v.base == basePayload || v.tagged {
		e.emit(st, depth)
		e.code = append(e.code, loadX(v)...)
		e.emit(ld|mem, depth)
		e.emit(alu|add|withX, 0)
	}
	// The sum may have gone below 0. libpcap finds no byte there; the kernel would go on adding modulo 2^32, and find one.
	e.code = append(e.code, bpf.RawInstruction{Op: jmp | jgt, K: maxIndex, Jf: 1})
	e.emit(ret, 0)
	e.emit(misc|tax, 0)
	e.emit(ld|sizeCode(v.size)|ind, v.offset)
}

// loadCode leaves a value in A.
func loadCode(v value) []bpf.RawInstruction {
	var code []bpf.RawInstruction
	switch {
	case v.base == baseLength:
		code = append(code, op(ld|length, 0))
	case v.base == baseFrame && !v.tagged:
		code = append(code, op(ld|sizeCode(v.size)|abs, v.offset))
	default:
		code = append(loadX(v), op(ld|sizeCode(v.size)|ind, v.offset))
	}
	return append(code, maskCode(v)...)
}

func maskCode(v value) []bpf.RawInstruction {
	if v.masked {
		return []bpf.RawInstruction{op(alu|bitAnd, v.bitMask)}
	}
	return nil
}

// loadX leaves in X what is added to a value's offset. Where both a header's length and a tag are, A is lost.
func loadX(v value) []bpf.RawInstruction {
	switch {
	case v.base != basePayload:
		return []bpf.RawInstruction{op(ldx|mem, tagRegister)}
	case !v.tagged:
		return []bpf.RawInstruction{op(ldx|octet|msh, v.header)}
	default:
		return []bpf.RawInstruction{
			op(ldx|mem, tagRegister), op(ld|octet|ind, v.header),
			op(alu|bitAnd, 0x0f), op(alu|lsh, 2), op(alu|add|withX, 0), op(misc|tax, 0),
		}
	}
}
