package store

import (
	"bytes"
	"cmp"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
)

// columnKind is how the values of a column are kept in a block.
type columnKind int

const (
	intColumn    columnKind = iota
	realColumn              // as integers in the same order
	textColumn              // each different text once
	foldedColumn            // texts in lower case, which are only searched in
	digestColumn            // of texts that are different in every row: two of them may have the same
)

// column is an expression of SQL whose values are kept in blocks.
type column struct {
	name string
	kind columnKind
	sql  string
}

// upperCase marks a column that has upper-case letters in its texts, in the byte that says the width.
const upperCase = 0x80

// maxBlockRows is more than there can be in a block; a damaged one may say anything.
const maxBlockRows = 1 << 24

// errBadBlock: a block is not as pack writes it.
var errBadBlock = errors.New("store: a block of columns is damaged")

// ordered maps a number to an integer, in the same order (IEEE 754, section 5.10): negative numbers have their bits in the opposite
// order.
func ordered(v float64) int64 {
	bits := int64(math.Float64bits(v + 0)) // one zero
	return bits ^ (bits>>63)&math.MaxInt64
}

// unordered is the number that ordered was given.
func unordered(v int64) float64 { return math.Float64frombits(uint64(v ^ (v>>63)&math.MaxInt64)) }

// digest tells texts apart, but for one in 2^64.
func digest(text string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // never fails
	return int64(h.Sum64())
}

// fold writes ASCII letters in lower case, as LIKE compares them (https://sqlite.org/lang_expr.html#like).
func fold(text string) string {
	for i := range len(text) {
		if c := text[i]; 'A' <= c && c <= 'Z' {
			return foldFrom([]byte(text), i)
		}
	}
	return text
}

func foldFrom(text []byte, i int) string {
	for ; i < len(text); i++ {
		if c := text[i]; 'A' <= c && c <= 'Z' {
			text[i] = c + 'a' - 'A'
		}
	}
	return string(text)
}

// packer gathers the values of one column of a block.
type packer struct {
	kind    columnKind
	values  []int64 // of a text: its place among entries
	entries []string
	places  map[string]int64
}

func (p *packer) add(v any) error {
	switch v := v.(type) {
	case int64:
		p.values = append(p.values, v)
		return nil
	case float64:
		p.values = append(p.values, ordered(v))
		return nil
	case string:
		p.addText(v)
		return nil
	}
	return fmt.Errorf("store: a column has a value of type %T", v)
}

func (p *packer) addText(v string) {
	switch p.kind {
	case digestColumn:
		p.values = append(p.values, digest(v))
		return
	case foldedColumn:
		v = fold(v)
	case intColumn, realColumn, textColumn:
	}
	place, known := p.places[v]
	if !known {
		if p.places == nil {
			p.places = map[string]int64{}
		}
		place = int64(len(p.entries))
		p.places[v] = place
		p.entries = append(p.entries, v)
	}
	p.values = append(p.values, place)
}

// pack appends a column: the least and the highest value, 8 bytes each; how many bytes a value takes, one byte; what each value is above the
// least. The highest bit of the byte says that there are upper-case letters. Then, of texts: how many bytes all of them take, 4 bytes; each with its length before it.
func (p *packer) pack(dst []byte) []byte {
	lo, hi := int64(0), int64(0)
	if len(p.values) > 0 {
		lo, hi = slices.Min(p.values), slices.Max(p.values)
	}
	width := 8
	switch span := uint64(hi) - uint64(lo); {
	case span == 0:
		width = 0
	case span <= math.MaxUint8:
		width = 1
	case span <= math.MaxUint16:
		width = 2
	case span <= math.MaxUint32:
		width = 4
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(lo))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(hi))
	head := byte(width)
	if slices.ContainsFunc(p.entries, func(e string) bool { return fold(e) != e }) {
		head |= upperCase
	}
	dst = append(dst, head)
	var b [8]byte
	for _, v := range p.values {
		binary.LittleEndian.PutUint64(b[:], uint64(v)-uint64(lo))
		dst = append(dst, b[:width]...)
	}
	if p.kind != textColumn && p.kind != foldedColumn {
		return dst
	}
	var list []byte
	for _, e := range p.entries {
		list = append(binary.AppendUvarint(list, uint64(len(e))), e...)
	}
	return append(binary.LittleEndian.AppendUint32(dst, uint32(len(list))), list...)
}

// packed is a column of a block.
type packed struct {
	kind   columnKind
	lo, hi int64
	width  int
	upper  bool // there are upper-case letters in its texts
	data   []byte
	list   []byte   // of texts, as pack writes them
	read   []string // list, once a row's text has been asked for
}

// unpack reads a column of so many rows; it copies nothing.
func unpack(kind columnKind, rows int, b []byte) (*packed, error) {
	if len(b) < 17 || rows < 0 || rows > maxBlockRows {
		return nil, errBadBlock
	}
	p := &packed{
		kind: kind, lo: int64(binary.LittleEndian.Uint64(b)), hi: int64(binary.LittleEndian.Uint64(b[8:])), width: int(b[16] &^ upperCase),
		upper: b[16]&upperCase != 0,
	}
	b = b[17:]
	switch p.width {
	case 0, 1, 2, 4, 8:
	default:
		return nil, errBadBlock
	}
	if len(b) < rows*p.width {
		return nil, errBadBlock
	}
	p.data, b = b[:rows*p.width], b[rows*p.width:]
	if kind == textColumn || kind == foldedColumn {
		if len(b) < 4 || uint64(len(b)-4) != uint64(binary.LittleEndian.Uint32(b)) {
			return nil, errBadBlock
		}
		p.list, b = b[4:], nil
	}
	if len(b) != 0 {
		return nil, errBadBlock
	}
	return p, nil
}

// at is the value of row i.
func (p *packed) at(i int) int64 {
	switch p.width {
	case 0:
		return p.lo
	case 1:
		return p.lo + int64(p.data[i])
	case 2:
		return p.lo + int64(binary.LittleEndian.Uint16(p.data[2*i:]))
	case 4:
		return p.lo + int64(binary.LittleEndian.Uint32(p.data[4*i:]))
	}
	return p.lo + int64(binary.LittleEndian.Uint64(p.data[8*i:]))
}

// each calls do with the texts of a column, in order.
func (p *packed) each(do func(i int, text string)) {
	list := string(p.list)
	for i, n := 0, 0; i < len(list); n++ {
		length, size := binary.Uvarint(p.list[i:])
		if size <= 0 || length > uint64(len(list)-i-size) {
			return // damaged: what cannot be read matches nothing
		}
		i += size
		do(n, list[i:i+int(length)])
		i += int(length)
	}
}

// text is the text of row i.
func (p *packed) text(i int) string {
	if p.read == nil {
		p.each(func(_ int, text string) { p.read = append(p.read, text) })
	}
	if at := p.at(i); at >= 0 && at < int64(len(p.read)) {
		return p.read[at]
	}
	return ""
}

// mayHave says whether a text can be the one of an entry that has part in it, without reading them one by one.
func (p *packed) mayHave(c *condition) bool {
	if !c.folded || !p.upper {
		return bytes.Contains(p.list, []byte(c.part))
	}
	return strings.Contains(fold(string(p.list)), c.part)
}

// value is that of row i as the database gives it.
func (p *packed) value(i int) any {
	switch p.kind {
	case realColumn:
		return unordered(p.at(i))
	case textColumn, foldedColumn:
		return p.text(i)
	case intColumn, digestColumn:
	}
	return p.at(i)
}

// compare compares the value of row i with one that the database has given.
func (p *packed) compare(i int, with any) int {
	switch with := with.(type) {
	case int64:
		return cmp.Compare(p.at(i), with)
	case float64:
		return cmp.Compare(p.at(i), ordered(with))
	case string:
		return strings.Compare(p.text(i), with)
	}
	return 0
}

// highest compares the highest number of a column with one that the database has given.
func (p *packed) highest(with any) int {
	switch with := with.(type) {
	case int64:
		return cmp.Compare(p.hi, with)
	case float64:
		return cmp.Compare(p.hi, ordered(with))
	}
	return 0
}

// block is a block as it is read: the columns of rows from lo to hi, each when it is first asked for.
type block struct {
	t      *blocked
	lo, hi int64
	rows   int
	load   func(block int64, name string) ([]byte, error)
	cols   map[string]*packed
}

// col is the column of an expression.
func (b *block) col(expr string) (*packed, error) {
	if p := b.cols[expr]; p != nil {
		return p, nil
	}
	i := slices.IndexFunc(b.t.cols, func(c column) bool { return c.sql == expr })
	if i < 0 {
		return nil, fmt.Errorf("store: %s have no column %s", b.t.blocks, expr)
	}
	data, err := b.load(b.lo, b.t.cols[i].name)
	if errors.Is(err, sql.ErrNoRows) {
		err = errBadBlock
	}
	if err != nil {
		return nil, fmt.Errorf("store: block %d of %s: %w", b.lo, b.t.blocks, err)
	}
	err = b.put(b.t.cols[i], data)
	return b.cols[expr], err
}

// put adds a column, as pack writes it.
func (b *block) put(c column, data []byte) error {
	p, err := unpack(c.kind, b.rows, data)
	if err != nil {
		return fmt.Errorf("store: block %d of %s: %s: %w", b.lo, b.t.blocks, c.name, err)
	}
	b.cols[c.sql] = p
	return nil
}

// scratch is memory that one block after the other may use.
type scratch struct {
	rows []int
	hit  []bool
}

// find lists the rows for which all conditions hold; the list is good until the next call.
func (b *block) find(f filter, s *scratch) (rows []int, err error) {
	rows = s.rows[:0]
	for i := range b.rows {
		rows = append(rows, i)
	}
	s.rows = rows
	for i := range f {
		if rows, err = b.narrow(rows, &f[i], s); err != nil || len(rows) == 0 {
			return nil, err
		}
	}
	return rows, nil
}

// narrow leaves those of the rows for which a condition holds.
func (b *block) narrow(rows []int, c *condition, s *scratch) ([]int, error) {
	s.hit = append(s.hit[:0], make([]bool, b.rows)...)
	any := false
	for _, name := range c.columns {
		p, err := b.col(name)
		if err != nil {
			return nil, err
		}
		if c.match == nil {
			any = p.markRange(c.lo, c.hi, s.hit) || any
		} else if m := p.matching(c); m != nil {
			p.markTexts(m, s.hit)
			any = true
		}
	}
	left := rows[:0]
	if !any {
		return left, nil
	}
	for _, i := range rows {
		if s.hit[i] {
			left = append(left, i)
		}
	}
	return left, nil
}

// markRange marks the rows with a number from lo to hi. false: there can be none.
func (p *packed) markRange(lo, hi int64, hit []bool) bool {
	if lo > p.hi || hi < p.lo || lo > hi {
		return false
	}
	// As pack writes them, above the least: v is in the range if v-from <= span, without a sign.
	from := uint64(max(lo, p.lo)) - uint64(p.lo)
	span := uint64(min(hi, p.hi)) - uint64(p.lo) - from
	switch p.width {
	case 1:
		for i, v := range p.data {
			hit[i] = hit[i] || uint64(v)-from <= span
		}
	case 2:
		for i := range hit {
			hit[i] = hit[i] || uint64(binary.LittleEndian.Uint16(p.data[2*i:]))-from <= span
		}
	default:
		for i := range hit {
			hit[i] = hit[i] || uint64(p.at(i))-uint64(p.lo)-from <= span
		}
	}
	return true
}

// markTexts marks the rows whose text is one of those that m says.
func (p *packed) markTexts(m []bool, hit []bool) {
	switch p.width {
	case 1:
		for i, v := range p.data {
			hit[i] = hit[i] || int(v) < len(m) && m[v]
		}
	case 2:
		for i := range hit {
			v := int(binary.LittleEndian.Uint16(p.data[2*i:]))
			hit[i] = hit[i] || v < len(m) && m[v]
		}
	default:
		for i := range hit {
			v := p.at(i)
			hit[i] = hit[i] || v >= 0 && v < int64(len(m)) && m[v]
		}
	}
}

// matching says for each text whether it is one of those that a condition is about; nil: none is.
func (p *packed) matching(c *condition) (m []bool) {
	if c.part != "" && !p.mayHave(c) {
		return nil
	}
	p.each(func(i int, text string) {
		if c.match(text) {
			m = append(m, make([]bool, i+1-len(m))...)
			m[i] = true
		}
	})
	return m
}
