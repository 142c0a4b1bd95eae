package filter

import "golang.org/x/net/bpf"

// registers is what the machine's registers are known to hold: in A a value, in X what loadX leaves there for one.
type registers struct{ a, x value }

// inX is the part of a value that decides what loadX does.
func inX(v value) value { return value{base: v.base, tagged: v.tagged, header: v.header} }

// line is an instruction whose jumps are still block numbers.
type line struct {
	in      bpf.RawInstruction
	yes, no int
	jump    bool
	always  bool // an unconditional jump, to yes
	longYes bool // a jump that is too far for 8 bits leads over an unconditional one right behind this instruction
	longNo  bool
}

func (l *line) size() int {
	n := 1
	if l.longYes {
		n++
	}
	if l.longNo {
		n++
	}
	return n
}

// emitter writes the blocks down, the highest first: every jump then leads forward, which is all that the machine can.
type emitter struct {
	blocks  []block
	lines   []line
	start   []int       // by block: its first line
	arrives []registers // by block: what all ways to it that are written so far bring
	seen    []bool      // by block: there is such a way
	snaplen uint32
}

// emit writes the program. It reports false if it is longer than MaxInstructions.
func emit(blocks []block, root int, snaplen uint32) ([]bpf.RawInstruction, bool) {
	size := max(root+1, firstBlock)
	e := &emitter{blocks: blocks, start: make([]int, size), arrives: make([]registers, size), seen: make([]bool, size), snaplen: snaplen}
	order := layout(blocks, root)
	e.prepare()
	for n, i := range order {
		next := reject
		if n+1 < len(order) {
			next = order[n+1]
		}
		e.block(i, next)
	}
	return e.link()
}

// layout lists the blocks that some way leads to from root, the highest first, and the verdicts last.
func layout(blocks []block, root int) (order []int) {
	reached := make([]bool, max(root+1, firstBlock))
	reached[root] = true
	for i := root; i >= firstBlock; i-- {
		if reached[i] {
			order = append(order, i)
			reached[blocks[i].yes], reached[blocks[i].no] = true, true
		}
	}
	for _, verdict := range []int{accept, reject} {
		if reached[verdict] {
			order = append(order, verdict)
		}
	}
	return order
}

// prepare clears tagRegister where the program uses it: the way to its first use may not have passed the VLAN test.
func (e *emitter) prepare() {
	for _, b := range e.blocks {
		if b.kind == condAction {
			e.add(op(ld|imm, 0), op(st, tagRegister))
			return
		}
	}
}

func (e *emitter) add(code ...bpf.RawInstruction) {
	for _, in := range code {
		e.lines = append(e.lines, line{in: in})
	}
}

// block writes one block, behind which next follows.
func (e *emitter) block(i, next int) {
	e.start[i] = len(e.lines)
	switch i {
	case reject:
		e.add(op(ret, 0))
		return
	case accept:
		e.add(op(ret, e.snaplen))
		return
	}
	b := &e.blocks[i]
	r := e.arrives[i]
	switch b.kind {
	case condTest:
		r = e.load(b.val, r)
	default:
		e.add(b.code...)
		r = registers{}
	}
	switch {
	case b.yes != b.no:
		e.lines = append(e.lines, line{in: op(jmp|b.test.op, b.test.k), yes: b.yes, no: b.no, jump: true})
	case b.yes != next:
		e.lines = append(e.lines, line{in: op(jmp|always, 0), yes: b.yes, jump: true, always: true})
	}
	e.arrive(b.yes, r)
	e.arrive(b.no, r)
}

// load brings a value into A, unless it is there.
func (e *emitter) load(v value, r registers) registers {
	switch {
	case r.a == v:
		return r
	case r.a.base != baseNone && r.a == v.whole():
		e.add(maskCode(v)...)
	case v.base == basePayload || v.tagged:
		if r.x != inX(v) {
			e.add(loadX(v)...)
		}
		r.x = inX(v)
		e.add(op(ld|sizeCode(v.size)|ind, v.offset))
		e.add(maskCode(v)...)
	default:
		e.add(loadCode(v)...)
	}
	r.a = v
	return r
}

// arrive notes what a way to a block brings; only what all ways bring is known there.
func (e *emitter) arrive(at int, r registers) {
	if !e.seen[at] {
		e.seen[at], e.arrives[at] = true, r
		return
	}
	if e.arrives[at].a != r.a {
		e.arrives[at].a = value{}
	}
	if e.arrives[at].x != r.x {
		e.arrives[at].x = value{}
	}
}

// link turns block numbers into distances.
func (e *emitter) link() ([]bpf.RawInstruction, bool) {
	at := make([]int, len(e.lines)+1)
	for again := true; again; {
		for i := range e.lines {
			at[i+1] = at[i] + e.lines[i].size()
		}
		if at[len(e.lines)] > MaxInstructions {
			return nil, false
		}
		again = false
		for i := range e.lines {
			again = e.lengthen(i, at) || again
		}
	}
	program := make([]bpf.RawInstruction, 0, at[len(e.lines)])
	for i := range e.lines {
		program = e.lines[i].append(program, func(block int) uint32 { return uint32(at[e.start[block]]) })
	}
	return program, true
}

// lengthen makes jumps long that are too far. It reports whether there was one.
func (e *emitter) lengthen(i int, at []int) (changed bool) {
	l := &e.lines[i]
	if !l.jump || l.always {
		return false
	}
	const far = 255
	if !l.longYes && at[e.start[l.yes]]-at[i]-1 > far {
		l.longYes, changed = true, true
	}
	if !l.longNo && at[e.start[l.no]]-at[i]-1 > far {
		l.longNo, changed = true, true
	}
	return changed
}

// append adds the instruction, and the unconditional jumps it needs, to a program.
func (l *line) append(program []bpf.RawInstruction, position func(block int) uint32) []bpf.RawInstruction {
	here := uint32(len(program)) + 1
	in := l.in
	if l.always {
		in.K = position(l.yes) - here
	}
	if !l.jump || l.always {
		return append(program, in)
	}
	var over []bpf.RawInstruction
	side := func(long bool, block int) uint8 {
		if !long {
			return uint8(position(block) - here)
		}
		skip := uint32(len(over))
		over = append(over, op(jmp|always, position(block)-here-skip-1))
		return uint8(skip)
	}
	in.Jt = side(l.longYes, l.yes)
	in.Jf = side(l.longNo, l.no)
	return append(append(program, in), over...)
}
