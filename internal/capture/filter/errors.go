package filter

import (
	"fmt"
	"strings"
	"unicode"
)

// SyntaxError says what in an expression cannot be used, and what can instead.
type SyntaxError struct {
	Expr   string
	Offset int // of the byte where the word in question begins; len(Expr) where one is missing
	Reason string
}

// Error is two or three lines: the reason, the expression, and a mark below the position.
func (e *SyntaxError) Error() string {
	const before, after = 48, 24 // runes shown around the position
	at := min(max(e.Offset, 0), len(e.Expr))
	head, tail := []rune(printable(e.Expr[:at])), []rune(printable(e.Expr[at:]))
	if len(head) > before {
		head = append([]rune("…"), head[len(head)-before:]...)
	}
	if len(tail) > after {
		tail = append(tail[:after:after], '…')
	}
	return fmt.Sprintf("at character %d: %s\n  %s%s\n  %s^",
		len([]rune(e.Expr[:at]))+1, e.Reason, string(head), string(tail), strings.Repeat(" ", len(head)))
}

// printable keeps one rune for each rune, and none that moves the cursor: the text goes to a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
}

// shown quotes a word for a message, cut where it is long.
func shown(word string) string {
	const most = 40
	r := []rune(printable(word))
	if len(r) > most {
		r = append(r[:most:most], '…')
	}
	return `"` + string(r) + `"`
}
