// Package filter turns packet filter expressions, a documented subset of tcpdump's syntax (docs/filter.md), into programs of
// the classic BPF machine, which the kernel runs for an interface and a [Matcher] for a file. It also reads the
// programs that tcpdump -ddd prints.
//
// A program gives the same verdict as tcpdump's own for every frame; what is outside the subset is an error that names
// the word, never another program. Lengths are bytes on the wire, offsets are bytes from the frame's start, numbers are
// unsigned and of 32 bits.
//
// Sources: the syntax, pcap-filter(7); the machine, S. McCanne and V. Jacobson, "The BSD Packet Filter", USENIX 1993, and
// Documentation/networking/filter.rst of the Linux kernel, where its ancillary loads are described too.
package filter

import (
	"fmt"

	"golang.org/x/net/bpf"

	"netlyra/internal/models"
)

const (
	// MaxInstructions is the longest program that the kernel takes (BPF_MAXINSNS).
	MaxInstructions = 4096

	maxExpr        = 64 << 10 // bytes
	maxDepth       = 200      // parentheses and negations inside each other
	defaultSnaplen = 256 << 10
)

// Options say what a program is for.
type Options struct {
	// Live says that a VLAN tag may be in a packet's metadata instead of in its bytes, as the kernel has it on Ethernet
	// interfaces. Such a program needs the kernel, or a Frame with its TPID set.
	Live    bool
	Snaplen uint32 // bytes of an accepted packet that are captured; 0 means 256 KiB, which is all
}

// Expr is an expression without a syntax error. It may be compiled from several goroutines.
type Expr struct {
	text string
	root node // nil: everything matches
}

// Parse reads an expression; an empty one matches everything. Errors are *SyntaxError.
func Parse(expr string) (*Expr, error) {
	tokens, err := lex(expr)
	if err != nil {
		return nil, err
	}
	root, err := parse(expr, tokens)
	if err != nil {
		return nil, err
	}
	return &Expr{text: expr, root: root}, nil
}

// String is the expression as it was given to Parse.
func (e *Expr) String() string { return e.text }

// Compile makes a program for frames of one link type. It fails with a *SyntaxError that points to the word which the link
// type has nothing for (a VLAN on raw IP, anything on 802.11 radiotap), and for expressions that need more than
// MaxInstructions. A term that no frame of the link type can match, such as arp on raw IP, is no error: it is false.
func (e *Expr) Compile(link models.LinkType, o Options) ([]bpf.RawInstruction, error) {
	g, err := newGenerator(e.text, link, o.Live)
	if err != nil {
		return nil, err
	}
	c := constant(true)
	if e.root != nil {
		c = e.root.cond(g)
	}
	if g.err != nil {
		return nil, g.err
	}
	snaplen := o.Snaplen
	if snaplen == 0 {
		snaplen = defaultSnaplen
	}
	program, ok := assemble(c, snaplen)
	if !ok {
		return nil, &SyntaxError{Expr: e.text, Reason: fmt.Sprintf(
			"this needs more than the %d instructions that the kernel takes: shorten it, for example with nets in place of hosts, and portranges", MaxInstructions)}
	}
	return program, nil
}

// Compile parses expr and compiles it; see Parse and Expr.Compile.
func Compile(expr string, link models.LinkType, o Options) ([]bpf.RawInstruction, error) {
	e, err := Parse(expr)
	if err != nil {
		return nil, err
	}
	return e.Compile(link, o)
}
