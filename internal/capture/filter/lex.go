package filter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"netlyra/internal/models"
)

type tokenKind uint8

const (
	tokenEnd     tokenKind = iota
	tokenWord              // a keyword, a named constant, or something unknown
	tokenEscaped           // a word behind a backslash, which is no keyword: \tcp
	tokenNumber            // decimal, 0x hexadecimal or 0 octal
	tokenDotted            // 2 to 4 decimal numbers: an IPv4 address or the start of one
	tokenIPv6
	tokenMAC
	tokenOp
)

type token struct {
	kind   tokenKind
	text   string
	pos    int    // its offset in the expression
	number uint32 // of tokenNumber; of tokenDotted its bytes, left aligned
	parts  int    // of tokenDotted
	ip6    netip.Addr
	mac    models.MAC
	pair   int // of "(": index of its ")"
}

func (t token) is(op string) bool  { return t.kind == tokenOp && t.text == op }
func (t token) word(w string) bool { return t.kind == tokenWord && t.text == w }

// describe names the token in a message.
func (t token) describe() string {
	switch t.kind {
	case tokenEnd:
		return "the end"
	case tokenEscaped:
		return shown(`\` + t.text)
	default:
		return shown(t.text)
	}
}

func isDigit(c byte) bool     { return c >= '0' && c <= '9' }
func isLetter(c byte) bool    { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isWordByte(c byte) bool  { return isDigit(c) || isLetter(c) || c == '_' || c == '-' || c == '.' }
func isBlank(c byte) bool     { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
func endsEscaped(c byte) bool { return isBlank(c) || c == '!' || c == '(' || c == ')' }

// lexer cuts an expression into tokens.
type lexer struct {
	expr   string
	pos    int
	tokens []token
	round  []int // indices of parentheses that are open
	square int   // brackets that are open: inside, a colon separates index and size
}

func (l *lexer) fail(pos int, reason string) error {
	return &SyntaxError{Expr: l.expr, Offset: pos, Reason: reason}
}

// lex gives the expression's tokens, tokenEnd behind them.
func lex(expr string) ([]token, error) {
	l := &lexer{expr: expr}
	if len(expr) > maxExpr {
		return nil, l.fail(0, fmt.Sprintf("%d bytes are more than the %d that an expression may have", len(expr), maxExpr))
	}
	for {
		for l.pos < len(expr) && isBlank(expr[l.pos]) {
			l.pos++
		}
		if l.pos == len(expr) {
			break
		}
		if err := l.next(); err != nil {
			return nil, err
		}
	}
	if len(l.round) > 0 {
		return nil, l.fail(l.tokens[l.round[len(l.round)-1]].pos, "this parenthesis is not closed")
	}
	return append(l.tokens, token{kind: tokenEnd, pos: len(expr)}), nil
}

func (l *lexer) next() error {
	c := l.expr[l.pos]
	colons := l.square == 0 && strings.HasPrefix(l.expr[l.pos:], "::")
	switch {
	case isDigit(c), isLetter(c), colons:
		return l.lexWord()
	case c == '\\':
		end := l.pos + 1
		for end < len(l.expr) && !endsEscaped(l.expr[end]) {
			end++
		}
		l.add(token{kind: tokenEscaped, text: l.expr[l.pos+1 : end]}, end)
		return nil
	}
	for _, op := range []string{
		"&&", "||", "<<", ">>", "<=", ">=", "==", "!=", "(", ")", "[", "]", "!", "&", "|", "^", "<", ">", "=", "+", "-", "*", "/", "%", ":",
	} {
		if strings.HasPrefix(l.expr[l.pos:], op) {
			return l.operator(op)
		}
	}
	return l.fail(l.pos, "nothing begins with this character; words, numbers, ( ) [ ] ! && || and operators do")
}

func (l *lexer) add(t token, end int) {
	t.pos = l.pos
	l.tokens = append(l.tokens, t)
	l.pos = end
}

func (l *lexer) operator(op string) error {
	t := token{kind: tokenOp, text: op}
	switch op {
	case "==":
		t.text = "="
	case "(":
		l.round = append(l.round, len(l.tokens))
	case ")":
		if len(l.round) == 0 {
			return l.fail(l.pos, "there is no parenthesis that this one could close")
		}
		l.tokens[l.round[len(l.round)-1]].pair = len(l.tokens)
		l.round = l.round[:len(l.round)-1]
	case "[":
		l.square++
	case "]":
		l.square = max(l.square-1, 0)
	}
	l.add(t, l.pos+len(op))
	return nil
}

// lexWord reads a word, a number or an address. As in tcpdump a "-" belongs to the word, but for one at its end.
func (l *lexer) lexWord() error {
	end := l.pos
	for end < len(l.expr) && (isWordByte(l.expr[end]) || l.expr[end] == ':' && l.square == 0) {
		end++
	}
	for strings.ContainsRune("-_", rune(l.expr[end-1])) {
		end--
	}
	t, reason := classify(l.expr[l.pos:end])
	if reason != "" {
		return l.fail(l.pos, reason)
	}
	l.add(t, end)
	return nil
}

// classify says what a word is. The reason is set if it cannot be anything.
func classify(text string) (t token, reason string) {
	t = token{kind: tokenWord, text: text}
	if mac, ok := parseMAC(text); ok {
		t.kind, t.mac = tokenMAC, mac
		return t, ""
	}
	if strings.Contains(text, ":") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return t, shown(text) + " is neither an IPv6 nor an Ethernet address"
		}
		t.kind, t.ip6 = tokenIPv6, addr
		return t, ""
	}
	if !isDigit(text[0]) {
		return t, ""
	}
	if onlyDotsAndDigits(text) && strings.Contains(text, ".") {
		return dotted(t)
	}
	return number(t)
}

func onlyDotsAndDigits(s string) bool {
	for i := range len(s) {
		if s[i] != '.' && !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// number reads decimal, octal behind 0 and hexadecimal behind 0x. What is none, such as the range 80-90, stays a word.
func number(t token) (token, string) {
	digits, base := t.text, 10
	switch {
	case strings.HasPrefix(digits, "0x"), strings.HasPrefix(digits, "0X"):
		digits, base = digits[2:], 16
	case digits[0] == '0':
		base = 8
	}
	for i := range len(t.text) {
		if c := t.text[i]; !isDigit(c) && base != 16 || base == 16 && !isDigit(c) && !isLetter(c) {
			return t, ""
		}
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil {
		return t, shown(t.text) + " is not a number of 32 bits: decimal, octal behind 0, or hexadecimal behind 0x"
	}
	t.kind, t.number = tokenNumber, uint32(n)
	return t, ""
}

// dotted reads 10.1, 10.1.2 and 10.1.2.3.
func dotted(t token) (token, string) {
	parts := strings.Split(t.text, ".")
	var b [4]byte
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil || i >= len(b) {
			return t, shown(t.text) + " is not an IPv4 address: it has four numbers of 0 to 255 at most"
		}
		if len(part) > 1 && part[0] == '0' {
			return t, shown(t.text) + " has a number with a leading 0, which some read as octal: leave it out"
		}
		b[i] = byte(n)
	}
	t.kind, t.number, t.parts = tokenDotted, binary.BigEndian.Uint32(b[:]), len(parts)
	return t, ""
}

// parseMAC reads aa:bb:cc:dd:ee:ff, aa-bb-cc-dd-ee-ff and aabb.ccdd.eeff. Single digits may stand for themselves.
func parseMAC(s string) (m models.MAC, ok bool) {
	if parts := strings.Split(s, "."); len(parts) == 3 && len(s) == 14 {
		for i, part := range parts {
			n, err := strconv.ParseUint(part, 16, 16)
			if err != nil || len(part) != 4 {
				return m, false
			}
			binary.BigEndian.PutUint16(m[2*i:], uint16(n))
		}
		return m, true
	}
	for _, sep := range []string{":", "-"} {
		parts := strings.Split(s, sep)
		if len(parts) != len(m) {
			continue
		}
		for i, part := range parts {
			n, err := strconv.ParseUint(part, 16, 8)
			if err != nil || len(part) > 2 {
				return m, false
			}
			m[i] = byte(n)
		}
		return m, true
	}
	return m, false
}
