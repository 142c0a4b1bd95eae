package store

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

func testColumns() *blocked {
	return &blocked{blocks: "test_blocks", cols: []column{
		{"n", intColumn, "n"}, {"x", realColumn, "x"}, {"t", textColumn, "t"}, {"f", foldedColumn, "f"}, {"d", digestColumn, "d"},
	}}
}

// packAll packs rows of the test's columns.
func packAll(t testing.TB, bt *blocked, rows [][]any) *block {
	t.Helper()
	b := bt.newBlock()
	for _, row := range rows {
		b.values = row
		must(t, b.add())
	}
	return &block{t: bt, rows: len(rows), cols: map[string]*packed{}, load: func(_ int64, name string) ([]byte, error) {
		i := slices.IndexFunc(bt.cols, func(c column) bool { return c.name == name })
		return b.packers[i].pack(nil), nil
	}}
}

func mustCol(t testing.TB, b *block, name string) *packed {
	t.Helper()
	p, err := b.col(name)
	must(t, err)
	return p
}

// TestColumnsComeBackAsPacked: whatever the widths are that the values need.
func TestColumnsComeBackAsPacked(t *testing.T) {
	bt := testColumns()
	for _, tt := range []struct {
		name string
		ints []int64
	}{
		{"none", nil},
		{"equal", []int64{7, 7, 7}},
		{"a byte", []int64{-200, 55, -1}},
		{"two bytes", []int64{0, 256, 65535}},
		{"four bytes", []int64{5, 65541, 4294967300}},
		{"eight bytes", []int64{math.MinInt64, 0, math.MaxInt64}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var rows [][]any
			for i, n := range tt.ints {
				rows = append(rows, []any{
					n, []float64{-1.5, 0, math.MaxFloat64}[i], []string{"a", "", "a"}[i], []string{"ÄB", "x", ""}[i], []string{"1:x", "1:y", "1:x"}[i],
				})
			}
			b := packAll(t, bt, rows)
			for i, row := range rows {
				got := []any{}
				for j := range bt.cols {
					got = append(got, mustCol(t, b, bt.cols[j].name).value(i))
				}
				want := append(slices.Clone(row[:3]), strings.ReplaceAll(row[3].(string), "B", "b"), digest(row[4].(string))) //nolint:errcheck // texts
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Errorf("row %d (-want +got):\n%s", i, diff)
				}
				for j := range rows {
					if n := mustCol(t, b, "n").compare(i, rows[j][0]); n != cmp.Compare(tt.ints[i], tt.ints[j]) {
						t.Errorf("%d against %d: %d", tt.ints[i], tt.ints[j], n)
					}
				}
				f := filter{{columns: []string{"n"}, lo: tt.ints[i], hi: tt.ints[i]}}
				found, err := b.find(f, &scratch{})
				must(t, err)
				if !slices.Contains(found, i) || slices.ContainsFunc(found, func(j int) bool { return tt.ints[j] != tt.ints[i] }) {
					t.Errorf("found rows %v for %d", found, tt.ints[i])
				}
			}
		})
	}
}

// TestOrderedNumbers: integers of numbers are in their order, and give them back.
func TestOrderedNumbers(t *testing.T) {
	vs := []float64{math.Inf(-1), -math.MaxFloat64, -1, -math.SmallestNonzeroFloat64, 0, math.SmallestNonzeroFloat64, 0.8, 1, math.Inf(1)}
	for i, v := range vs {
		if unordered(ordered(v)) != v {
			t.Errorf("%v comes back as %v", v, unordered(ordered(v)))
		}
		if i > 0 && ordered(vs[i-1]) >= ordered(v) {
			t.Errorf("%v is not before %v", vs[i-1], v)
		}
	}
	if ordered(math.Copysign(0, -1)) != ordered(0) {
		t.Error("there are two zeros")
	}
}

// FuzzUnpack: a damaged column is an error or has other values, and is never a panic.
func FuzzUnpack(f *testing.F) {
	bt := testColumns()
	b := packAll(f, bt, [][]any{{int64(1), 0.5, "a", "B", "c"}, {int64(70_000), 0.9, "b", "B", "d"}})
	for _, c := range bt.cols {
		data, err := b.load(0, c.name)
		must(f, err)
		f.Add(data, 2)
		f.Add(data[:len(data)-1], 2)
	}
	f.Fuzz(func(t *testing.T, data []byte, rows int) {
		damaged := &block{t: bt, rows: rows % 1000, cols: map[string]*packed{}, load: func(int64, string) ([]byte, error) { return data, nil }}
		for _, c := range bt.cols {
			p, err := damaged.col(c.name)
			if err != nil {
				if !errors.Is(err, errBadBlock) {
					t.Errorf("%v, want errBadBlock", err)
				}
				continue
			}
			all := filter{{columns: []string{c.name}, lo: 1, hi: 70_000}}
			if c.kind == textColumn || c.kind == foldedColumn {
				all = nil
				all.contains("b", c.name)
			}
			found, err := damaged.find(all, &scratch{})
			must(t, err)
			for _, i := range found {
				_ = p.value(i)
			}
		}
	})
}
