package filter

import (
	"slices"

	"golang.org/x/net/bpf"
)

// block is a node of the decision graph: it runs code or loads a value, tests, and goes on to another block. Blocks are
// numbered from the verdicts up: an edge always leads to a lower number.
type block struct {
	kind condKind // condTest, condCode or condAction
	val  value
	test test
	code []bpf.RawInstruction
	yes  int // condAction goes there too
	no   int
}

const (
	reject = iota
	accept
	firstBlock
)

// maxBlocks bounds the work that is done for an expression that is too long anyway.
const maxBlocks = 4 * MaxInstructions

// graph is a decision graph being made.
type graph struct {
	blocks []block // blocks[reject] and blocks[accept] are empty
	full   bool
}

// assemble makes the program that returns snaplen where c is true, and else 0. It reports false if that needs more than
// MaxInstructions.
func assemble(c *cond, snaplen uint32) ([]bpf.RawInstruction, bool) {
	g := &graph{blocks: make([]block, firstBlock)}
	root := g.build(c, accept, reject)
	if g.full {
		return nil, false
	}
	g.shorten(root)
	return emit(g.blocks, g.merge(root), snaplen)
}

// build adds the blocks of a condition that goes on to yes or to no, and returns the number of its first one.
func (g *graph) build(c *cond, yes, no int) int {
	switch c.kind {
	case condTrue:
		return yes
	case condFalse:
		return no
	case condNot:
		return g.build(c.a, no, yes)
	case condAnd:
		return g.build(c.a, g.build(c.b, yes, no), no)
	case condOr:
		return g.build(c.a, yes, g.build(c.b, yes, no))
	case condAction:
		return g.add(block{kind: c.kind, code: c.code, yes: yes, no: yes})
	default:
		return g.add(block{kind: c.kind, val: c.val, test: c.test, code: c.code, yes: yes, no: no})
	}
}

func (g *graph) add(b block) int {
	if len(g.blocks) == maxBlocks {
		g.full = true
		return reject
	}
	g.blocks = append(g.blocks, b)
	return len(g.blocks) - 1
}

// fact is what a path through the graph has found out: a test of a value, and how it ended.
type fact struct {
	val   value
	test  test
	taken bool
}

// maxFacts bounds what is remembered on a path; the oldest, such as the network protocol, are the most useful.
const maxFacts = 24

// shorten lets edges skip the tests whose outcome the way there has decided. Loads are not saved by that but where the
// value has been loaded before, so the verdict on packets that end too early stays.
func (g *graph) shorten(root int) {
	s := shortener{graph: g, facts: make([][]fact, root+1), reached: make([]bool, root+1)}
	s.reached[root] = true
	// An edge leads down: when a block's turn comes, all ways to it are known.
	for i := root; i >= firstBlock; i-- {
		if s.reached[i] {
			b := &g.blocks[i]
			b.yes, b.no = s.follow(i, b.yes, true), s.follow(i, b.no, false)
			s.facts[i] = nil
		}
	}
}

type shortener struct {
	*graph
	facts   [][]fact // by block: what is known on all ways to it
	reached []bool
}

// follow finds where an edge leads in the end.
func (s *shortener) follow(from, to int, taken bool) int {
	along := s.facts[from]
	if b := &s.blocks[from]; b.kind == condTest {
		along = learn(along, fact{b.val, b.test, taken})
	}
	for to >= firstBlock && s.blocks[to].kind == condTest {
		outcome, ok := decide(along, &s.blocks[to])
		if !ok {
			break
		}
		if outcome {
			to = s.blocks[to].yes
		} else {
			to = s.blocks[to].no
		}
	}
	if s.reached[to] {
		s.facts[to] = common(s.facts[to], along)
	} else {
		s.reached[to], s.facts[to] = true, along
	}
	return to
}

// merge lets one of several equal blocks do for all, and returns the root.
func (g *graph) merge(root int) int {
	type content struct {
		val     value
		test    test
		yes, no int
	}
	first := map[content]int{}
	same := make([]int, max(root+1, firstBlock))
	for i := range same {
		same[i] = i
		if i < firstBlock {
			continue
		}
		b := &g.blocks[i]
		b.yes, b.no = same[b.yes], same[b.no]
		if b.kind != condTest {
			continue
		}
		key := content{b.val, b.test, b.yes, b.no}
		if j, ok := first[key]; ok {
			same[i] = j
		} else {
			first[key] = i
		}
	}
	return same[root]
}

// learn adds a fact to those of a path, which other paths share.
func learn(along []fact, f fact) []fact {
	if len(along) >= maxFacts {
		return along
	}
	return append(slices.Clip(along), f)
}

// common keeps what is known on both ways.
func common(a, b []fact) []fact {
	var both []fact
	for _, f := range a {
		if slices.Contains(b, f) {
			both = append(both, f)
		}
	}
	return both
}

// decide says how a test ends, if the facts tell.
func decide(facts []fact, b *block) (outcome, ok bool) {
	for _, f := range facts {
		switch {
		case f.val == b.val && f.test == b.test:
			return f.taken, true
		case !f.taken || f.test.op != jeq:
		case f.val == b.val:
			return b.test.taken(f.test.k), true
		case f.val == b.val.whole():
			return b.test.taken(f.test.k & b.val.bitMask), true
		}
	}
	return false, false
}
