package filter

import "slices"

type arithOp uint8

const (
	arithNumber arithOp = iota
	arithLen            // the packet's length
	arithLoad           // bytes of the packet
	arithNeg
	arithAdd
	arithSub
	arithMul
	arithDiv
	arithMod
	arithAnd
	arithOr
	arithXor
	arithLsh
	arithRsh
)

// arithNode is an arithmetic expression: unsigned, of 32 bits, wrapping.
type arithNode struct {
	op          arithOp
	at          int
	number      uint32
	proto       string // of arithLoad: whose header the index counts from
	size        uint8  // of arithLoad: 1, 2 or 4 bytes
	left, right *arithNode
}

// relationNode compares two of them.
type relationNode struct {
	at          int
	left, right *arithNode
	op          string
}

type operator struct {
	op         arithOp
	precedence int // 0: must not stand beside another one without parentheses
}

// operators are C's, and bind as in C. How tcpdump binds % and ^ among others follows from no rule one could state, so
// these want parentheses.
func operators() map[string]operator {
	return map[string]operator{
		"|": {arithOr, 1}, "&": {arithAnd, 2}, "<<": {arithLsh, 3}, ">>": {arithRsh, 3},
		"+": {arithAdd, 4}, "-": {arithSub, 4}, "*": {arithMul, 5}, "/": {arithDiv, 5}, "%": {arithMod, 0}, "^": {arithXor, 0},
	}
}

func isRelation(t token) bool {
	return t.kind == tokenOp && slices.Contains([]string{"=", "!=", "<", ">", "<=", ">="}, t.text)
}

func isOperator(t token) bool {
	_, ok := operators()[t.text]
	return t.kind == tokenOp && ok || isRelation(t)
}

// startsArithmetic tells a comparison from the other conditions.
func (p *parser) startsArithmetic() bool {
	t := p.peek()
	switch t.kind {
	case tokenOp:
		return t.is("-") || t.is("(") && isOperator(p.tokens[t.pair+1])
	case tokenNumber:
		return isOperator(p.ahead(1))
	case tokenWord:
		_, named := namedNumber(t.text)
		return named || t.text == "len" || isProtocol(t.text) && p.ahead(1).is("[")
	default:
		return false
	}
}

func (p *parser) relation() node {
	n := &relationNode{at: p.peek().pos, left: p.arithmetic(1)}
	t := p.peek()
	if !isRelation(t) {
		p.fail(t, "%s stands where a comparison belongs: =, !=, <, >, <= or >=", t.describe())
	}
	p.at++
	n.op = t.text
	n.right = p.arithmetic(1)
	if t := p.peek(); isRelation(t) {
		p.fail(t, "only two values are compared: join two comparisons with and")
	}
	return n
}

// arithmetic reads operators that bind at least as strong as lowest.
func (p *parser) arithmetic(lowest int) *arithNode {
	left := p.operand()
	if t := p.peek(); lowest == 1 && (t.is("%") || t.is("^")) {
		return p.alone(left, t)
	}
	for {
		t := p.peek()
		o, ok := operators()[t.text]
		if t.kind != tokenOp || !ok {
			return left
		}
		if o.precedence == 0 {
			p.fail(t, "put %s and what it joins into parentheses", t.text)
		}
		if o.precedence < lowest {
			return left
		}
		p.at++
		left = p.binary(t, o.op, left, p.arithmetic(o.precedence+1))
	}
}

// alone reads an operator that must not stand beside another one.
func (p *parser) alone(left *arithNode, t token) *arithNode {
	p.at++
	n := p.binary(t, operators()[t.text].op, left, p.operand())
	if next := p.peek(); isOperator(next) && !isRelation(next) {
		p.fail(next, "put %s and what it joins into parentheses", t.text)
	}
	return n
}

// operand is a number, the length, bytes of the packet, or arithmetic in parentheses.
func (p *parser) operand() *arithNode {
	t := p.take()
	p.enter(t)
	defer p.leave()
	switch {
	case t.is("-"):
		return fold(&arithNode{op: arithNeg, at: t.pos, left: p.operand()})
	case t.is("("):
		n := p.arithmetic(1)
		p.expect(")")
		return n
	case t.kind == tokenNumber:
		return &arithNode{op: arithNumber, at: t.pos, number: t.number}
	case t.word("len"):
		return &arithNode{op: arithLen, at: t.pos}
	case t.kind == tokenWord && isProtocol(t.text) && p.peek().is("["):
		return p.load(t)
	}
	if n, ok := namedNumber(t.text); ok && t.kind == tokenWord {
		return &arithNode{op: arithNumber, at: t.pos, number: n}
	}
	p.fail(t, "%s stands where a number, len, a named constant such as tcp-syn or bytes such as ip[8] belong; a minus sign needs a blank before it", t.describe())
	return nil
}

// load is proto[index:size].
func (p *parser) load(t token) *arithNode {
	switch t.text {
	case "ah", "esp":
		p.fail(t, "%s has no byte access; ether, ip, ip6, arp, rarp, tcp, udp, icmp, icmp6, sctp, igmp and pim have", t.text)
	case "link":
		t.text = "ether"
	}
	p.expect("[")
	n := &arithNode{op: arithLoad, at: t.pos, proto: t.text, size: 1}
	n.left = p.arithmetic(1)
	if p.accept(":") {
		size := p.take()
		if size.kind != tokenNumber || size.number != 1 && size.number != 2 && size.number != 4 {
			p.fail(size, "1, 2 or 4 bytes can be read, not %s", size.describe())
		}
		n.size = uint8(size.number)
	}
	p.expect("]")
	if n.left.op == arithNumber && n.left.number > maxIndex {
		p.fail(token{pos: n.left.at}, "no packet has a byte %d", int32(n.left.number))
	}
	return n
}

// binary joins two operands, numbers at once.
func (p *parser) binary(t token, op arithOp, left, right *arithNode) *arithNode {
	if right.op == arithNumber {
		switch {
		case right.number == 0 && (op == arithDiv || op == arithMod):
			p.fail(t, "nothing can be divided by 0")
		case right.number > 31 && (op == arithLsh || op == arithRsh):
			p.fail(t, "32 bits can be shifted by 31 at most")
		}
	}
	return fold(&arithNode{op: op, at: left.at, left: left, right: right})
}

// fold computes what is known already.
func fold(n *arithNode) *arithNode {
	if n.left.op != arithNumber || n.right != nil && n.right.op != arithNumber {
		return n
	}
	a, b := n.left.number, uint32(0)
	if n.right != nil {
		b = n.right.number
	}
	return &arithNode{op: arithNumber, at: n.at, number: compute(n.op, a, b)}
}

// compute is what the machine does. b is not 0 in a division, and at most 31 in a shift.
func compute(op arithOp, a, b uint32) uint32 {
	switch op {
	case arithNeg:
		return -a
	case arithAdd:
		return a + b
	case arithSub:
		return a - b
	case arithMul:
		return a * b
	case arithDiv:
		return a / b
	case arithMod:
		return a % b
	case arithAnd:
		return a & b
	case arithOr:
		return a | b
	case arithXor:
		return a ^ b
	case arithLsh:
		return a << b
	default: // arithRsh
		return a >> b
	}
}
