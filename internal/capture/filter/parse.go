package filter

import (
	"fmt"
	"slices"
	"strings"
)

// node is a part of an expression: cond says what it means for a link type, in the order in which the parts were written,
// since a vlan moves the offsets of everything behind it.
type node interface {
	cond(g *generator) *cond
}

type (
	notNode    struct{ of node }
	binaryNode struct {
		or          bool
		left, right node
	}
)

// direction says which end of a packet an address or a port is compared with.
type direction uint8

const (
	dirEither direction = iota // source or destination
	dirBoth
	dirSource
	dirDestination
)

// kind says what an identifier is.
type kind uint8

const (
	kindNone kind = iota // an address is a host
	kindHost
	kindNet
	kindPort
	kindPortrange
	kindProto
)

// qualifier is what stands before an identifier, and holds for the ones behind it that have none of their own.
type qualifier struct {
	proto string // "" for any
	dir   direction
	kind  kind
}

// parser is a recursive descent over the tokens. The grammar is pcap-filter(7)'s: not binds strongest, and and or bind
// alike, from left to right.
type parser struct {
	expr   string
	tokens []token
	at     int
	depth  int
	last   *qualifier // for identifiers without one of their own; nil: there is none to be used again
}

// bail carries a *SyntaxError out of the descent.
type bail struct{ err *SyntaxError }

// parse gives nil for an expression without a token.
func parse(expr string, tokens []token) (root node, err error) {
	p := &parser{expr: expr, tokens: tokens}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case bail:
			root, err = nil, r.err
		default:
			panic(r)
		}
	}()
	if p.peek().kind == tokenEnd {
		return nil, nil
	}
	root = p.expression()
	switch t := p.peek(); {
	case t.kind == tokenEnd:
	case t.kind == tokenWord && slices.Contains(unsupportedWords(), t.text):
		p.fail(t, "%s", unknown(t.text))
	default:
		p.fail(t, "%s cannot stand here: and, or, && or || joins two parts of an expression", t.describe())
	}
	return root, nil
}

func (p *parser) fail(t token, format string, args ...any) {
	panic(bail{&SyntaxError{Expr: p.expr, Offset: t.pos, Reason: fmt.Sprintf(format, args...)}})
}

func (p *parser) peek() token { return p.tokens[p.at] }

// ahead looks n tokens beyond the next one.
func (p *parser) ahead(n int) token { return p.tokens[min(p.at+n, len(p.tokens)-1)] }

// take moves on; it stays at the end.
func (p *parser) take() token {
	t := p.tokens[p.at]
	if t.kind != tokenEnd {
		p.at++
	}
	return t
}

func (p *parser) accept(op string) bool {
	if p.peek().is(op) {
		p.at++
		return true
	}
	return false
}

func (p *parser) expect(op string) {
	if t := p.peek(); !p.accept(op) {
		p.fail(t, "%s stands where %q belongs", t.describe(), op)
	}
}

// enter bounds the recursion; the caller calls leave.
func (p *parser) enter(t token) {
	if p.depth++; p.depth > maxDepth {
		p.fail(t, "more than %d parentheses and negations inside each other", maxDepth)
	}
}

func (p *parser) leave() { p.depth-- }

// joiner takes an and or an or.
func (p *parser) joiner() (or, ok bool) {
	switch t := p.peek(); {
	case t.word("and"), t.is("&&"):
		p.at++
		return false, true
	case t.word("or"), t.is("||"):
		p.at++
		return true, true
	}
	return false, false
}

// expression is terms joined by and and or.
func (p *parser) expression() node {
	left := p.term(false)
	for {
		or, ok := p.joiner()
		if !ok {
			return left
		}
		left = &binaryNode{or: or, left: left, right: p.term(true)}
	}
}

// term is one condition. Behind an and or an or, it may be a mere identifier with the qualifier of the one before.
func (p *parser) term(bare bool) node {
	t := p.peek()
	switch {
	case t.is("!"), t.word("not"):
		p.at++
		p.enter(t)
		defer p.leave()
		return &notNode{p.term(bare)}
	case t.is("(") && !p.startsArithmetic():
		if p.startsIdentifiers() {
			return p.again(t, bare)
		}
		return p.group(t)
	case p.startsArithmetic():
		p.last = nil
		return p.relation()
	case isIdentifier(t):
		return p.again(t, bare)
	default:
		return p.primitive()
	}
}

// group is an expression in parentheses. Behind it no qualifier is used again.
func (p *parser) group(t token) node {
	p.at++
	p.enter(t)
	defer p.leave()
	p.last = nil
	n := p.expression()
	p.expect(")")
	p.last = nil
	return n
}

// again is identifiers with the qualifier of those before.
func (p *parser) again(t token, bare bool) node {
	if !bare || p.last == nil {
		p.fail(t, "nothing says what %s is: write host, net, port or portrange before it", t.describe())
	}
	return p.identifiers(*p.last)
}

// identifiers is one identifier, or several in parentheses.
func (p *parser) identifiers(q qualifier) node {
	t := p.peek()
	switch {
	case t.is("!"), t.word("not"):
		p.at++
		p.enter(t)
		defer p.leave()
		return &notNode{p.identifiers(q)}
	case t.is("("):
		p.at++
		p.enter(t)
		defer p.leave()
		left := p.identifiers(q)
		for {
			or, ok := p.joiner()
			if !ok {
				p.expect(")")
				return left
			}
			left = &binaryNode{or: or, left: left, right: p.identifiers(q)}
		}
	default:
		return p.identifier(q)
	}
}

// startsIdentifiers tells "(80 or 443)" from an expression in parentheses.
func (p *parser) startsIdentifiers() bool {
	at := p.at
	for p.tokens[at].is("(") || p.tokens[at].is("!") || p.tokens[at].word("not") {
		if p.tokens[at].is("(") && isOperator(p.tokens[p.tokens[at].pair+1]) {
			return false // arithmetic
		}
		at++
	}
	return isIdentifier(p.tokens[at]) && !isOperator(p.tokens[min(at+1, len(p.tokens)-1)])
}

func isIdentifier(t token) bool {
	switch t.kind {
	case tokenNumber, tokenDotted, tokenIPv6, tokenMAC, tokenEscaped:
		return true
	case tokenWord:
		return isDigit(t.text[0]) // such as 80-90
	default:
		return false
	}
}

// primitive is a condition that begins with a word.
func (p *parser) primitive() node {
	t := p.peek()
	if t.kind != tokenWord {
		p.fail(t, "%s stands where a condition belongs, such as host 10.0.0.1, tcp port 80 or ip[8] < 5", t.describe())
	}
	switch t.text {
	case "less", "greater":
		p.at++
		p.last = nil
		return p.length(t)
	case "vlan":
		p.at++
		p.last = nil
		return p.vlan(t)
	}
	q := qualifier{}
	if isProtocol(t.text) {
		q.proto = t.text
		p.at++
	} else if !startsQualifier(t) && !isCast(t) {
		p.fail(t, "%s", unknown(t.text))
	}
	if cast := p.peek(); isCast(cast) {
		p.at++
		p.last = nil
		return p.cast(q, cast)
	}
	if !p.qualify(&q) {
		if q.proto == "ether" || q.proto == "link" {
			p.fail(t, "%s alone says nothing: an EtherType or an address belongs behind it, as in ether proto 0x88cc and ether host 02:00:00:00:00:01", t.text)
		}
		p.last = nil
		return &protocolNode{name: q.proto}
	}
	p.last = &q
	return p.identifiers(q)
}

func isCast(t token) bool { return t.word("broadcast") || t.word("multicast") }

func startsQualifier(t token) bool {
	return t.kind == tokenWord && slices.Contains([]string{"src", "dst", "host", "net", "port", "portrange", "proto"}, t.text)
}

// qualify reads direction and kind. It reports whether there was one of them.
func (p *parser) qualify(q *qualifier) bool {
	directed := p.direction(q)
	kinds := map[string]kind{"host": kindHost, "net": kindNet, "port": kindPort, "portrange": kindPortrange}
	t := p.peek()
	k, ok := kinds[t.text]
	switch {
	case t.word("proto"):
		if directed {
			p.fail(t, "a protocol has no src or dst: leave it out")
		}
		q.kind = kindProto
	case ok && t.kind == tokenWord:
		q.kind = k
	default:
		return directed
	}
	p.at++
	return true
}

// direction reads src, dst, src or dst, src and dst.
func (p *parser) direction(q *qualifier) bool {
	names := map[string]direction{"src": dirSource, "dst": dirDestination}
	first, ok := names[p.peek().text]
	if !ok || p.peek().kind != tokenWord {
		return false
	}
	p.at++
	q.dir = first
	join := p.peek()
	if second, ok := names[p.ahead(1).text]; ok && join.kind == tokenWord && second != first {
		switch join.text {
		case "or":
			q.dir = dirEither
			p.at += 2
		case "and":
			q.dir = dirBoth
			p.at += 2
		}
	}
	return true
}

// length is less and greater.
func (p *parser) length(t token) node {
	n := p.peek()
	if n.kind != tokenNumber {
		p.fail(n, "%s needs a number of bytes behind it, not %s", t.text, n.describe())
	}
	p.at++
	op := ">="
	if t.text == "less" {
		op = "<="
	}
	return &relationNode{left: &arithNode{op: arithLen}, op: op, right: &arithNode{op: arithNumber, number: n.number}}
}

// vlan is a tag of any number, or of one.
func (p *parser) vlan(t token) node {
	const most = 4095 // IEEE 802.1Q, section 9.6
	n := &vlanNode{at: t.pos}
	paren := p.peek().is("(") && p.ahead(1).kind == tokenNumber
	if paren {
		p.at++
	}
	if id := p.peek(); id.kind == tokenNumber {
		p.at++
		if id.number > most {
			p.fail(id, "a VLAN has a number of 0 to %d", most)
		}
		n.id, n.named = uint16(id.number), true
	}
	if paren {
		p.expect(")")
	}
	return n
}

// cast is broadcast and multicast.
func (p *parser) cast(q qualifier, t token) node {
	switch {
	case q.proto == "" || q.proto == "ether" || q.proto == "link":
		return &castNode{at: t.pos, broadcast: t.text == "broadcast"}
	case t.text == "multicast" && (q.proto == "ip" || q.proto == "ip6"):
		return &castNode{at: t.pos, proto: q.proto}
	case t.text == "broadcast" && q.proto == "ip":
		p.fail(t, "an IPv4 broadcast address depends on the net, which a filter does not know: write, for example, dst host 10.0.0.255, or ether broadcast")
	}
	p.fail(t, "%s %s means nothing: ether broadcast, ether multicast, ip multicast and ip6 multicast do", q.proto, t.text)
	return nil
}

// unsupportedWords are what tcpdump knows beyond the subset.
func unsupportedWords() []string {
	return strings.Fields("gateway protochain mpls pppoed pppoes geneve vxlan inbound outbound ifindex ifname on rnr rset srnr rulenum " +
		"reason action wlan type subtype dir direction iso clnp esis isis lat moprc mopdl decnet stp ipx netbeui aarp atalk llc fddi " +
		"tr ppp slip radio lane oam igrp carp vrrp byte")
}

// unknown says why a word cannot be used.
func unknown(word string) string {
	spelt := map[string]string{"icmp4": "icmp", "icmpv6": "icmp6", "ipv4": "ip", "ipv6": "ip6"}
	lower := strings.ToLower(word)
	if right, ok := spelt[lower]; ok {
		return shown(word) + " is unknown: write " + right
	}
	switch {
	case slices.Contains(unsupportedWords(), word):
		return shown(word) + " is not supported; --filter-bpf takes what tcpdump -ddd makes of it"
	case word != lower && (isProtocol(lower) || startsQualifier(token{kind: tokenWord, text: lower})):
		return shown(word) + " is unknown: write " + lower
	}
	return shown(word) + " is unknown; what a filter can say is: host, net, port, portrange (with src or dst before them), proto, vlan, less, greater, len, " +
		"broadcast, multicast, protocols (" + strings.Join(protocolNames(), ", ") + ") and bytes such as tcp[13] & 2 != 0"
}
