package store

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"gorm.io/gorm"
)

// search finds the first rows of a list: among the rest and what has changed row by row, then in the blocks, the newest first.
type search struct {
	tx      *gorm.DB
	list    list
	t       *blocked
	n       int
	found   [][]any // keys of the first n rows so far, in order
	scratch scratch
}

func newSearch(tx *gorm.DB, l list, n int) *search {
	return &search{tx: tx, list: l, t: l.blocked, n: n}
}

// run returns the keys of the rows.
func (s *search) run() ([][]any, error) {
	end, begun, err := s.t.end(s.tx.Statement.Context, s.tx.Statement.ConnPool)
	if err != nil {
		return nil, err
	}
	if !begun {
		err := s.database(s.t.table, s.list.filter)
		return s.found, err
	}
	if err := s.database(s.t.table, s.list.filter.with(s.t.place+" > ?", end)); err != nil {
		return nil, err
	}
	// CROSS JOIN: the changes first, then their rows (https://sqlite.org/optoverview.html#manual_control_of_query_plans_using_cross_join)
	changed := fmt.Sprintf("%s CROSS JOIN %s ON id = changed", s.t.notes, s.t.table)
	if err := s.database(changed, s.list.filter); err != nil {
		return nil, err
	}
	if err := s.blocks(); err != nil {
		return nil, err
	}
	return s.found, nil
}

// candidate is a row that may be among the first.
type candidate interface {
	// compare says whether the row comes before another with these keys (below 0), is that (0), or comes behind it (above 0).
	compare(keys []any) int
}

// rowKeys are the keys of a row of the database.
type rowKeys []any

func (r rowKeys) compare(keys []any) int {
	for i, k := range r {
		if c := compareKeys(k, keys[i]); c != 0 {
			return -c // the highest first
		}
	}
	return 0
}

// blockRow is a row of a block.
type blockRow struct {
	keys []*packed
	i    int
}

func (r *blockRow) compare(keys []any) int {
	for j, k := range r.keys {
		if c := k.compare(r.i, keys[j]); c != 0 {
			return -c
		}
	}
	return 0
}

// database searches rows of the database.
func (s *search) database(from string, f filter) error {
	text, args := s.list.sql(from, f, s.n)
	return eachRow(s.tx, text, args, len(s.list.order.keys), func(keys []any) error {
		if place, better := s.place(rowKeys(keys)); better {
			s.insert(place, slices.Clone(keys))
		}
		return nil
	})
}

// place says where a row belongs among those that are found, and whether it does: one that is there already, or that comes behind n others,
// does not.
func (s *search) place(c candidate) (place int, better bool) {
	if len(s.found) == s.n && c.compare(s.found[s.n-1]) >= 0 {
		return 0, false
	}
	place, there := slices.BinarySearchFunc(s.found, c, func(keys []any, c candidate) int { return -c.compare(keys) })
	return place, !there
}

func (s *search) insert(place int, keys []any) {
	if len(s.found) == s.n {
		s.found = s.found[:s.n-1]
	}
	s.found = slices.Insert(s.found, place, keys)
}

// newestFirst says whether the list is in the order of the blocks.
func (s *search) newestFirst() bool { return s.list.order.keys[0] == s.t.place }

// blocks searches the blocks; where the list is in their order, from that of the page before on, until the page is full.
func (s *search) blocks() (err error) {
	from := int64(math.MaxInt64)
	if s.newestFirst() && s.list.after != nil {
		from = s.list.after[0].(int64) //nolint:errcheck // keysFit has checked it
	}
	ctx, pool := s.tx.Statement.Context, s.tx.Statement.ConnPool
	column, err := pool.PrepareContext(ctx, fmt.Sprintf("SELECT data FROM %s WHERE block = ? AND name = ?", s.t.columns))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, column.Close()) }()
	load := func(block int64, name string) (data []byte, err error) {
		err = column.QueryRowContext(ctx, block, name).Scan(&data)
		return data, err
	}
	// What the filter looks at comes with the block: that costs a fifth of asking for each.
	asked := s.t.asked(s.list.filter)
	values := []string{"lo", "hi", "rows"}
	for _, c := range asked {
		values = append(values, fmt.Sprintf("(SELECT data FROM %s WHERE block = lo AND name = '%s')", s.t.columns, c.name))
	}
	rows, err := pool.QueryContext(ctx, fmt.Sprintf("SELECT %s FROM %s WHERE lo <= ? ORDER BY lo DESC", strings.Join(values, ", "), s.t.blocks), from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	data := make([]sql.RawBytes, len(asked)) // good until the next row
	for rows.Next() {
		b := block{t: s.t, load: load, cols: map[string]*packed{}}
		into := []any{&b.lo, &b.hi, &b.rows}
		for i := range data {
			into = append(into, &data[i])
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if s.newestFirst() && len(s.found) == s.n && s.found[s.n-1][0].(int64) > b.hi { //nolint:errcheck // a place is an integer
			break
		}
		for i, c := range asked {
			if err := b.put(c, data[i]); err != nil {
				return err
			}
		}
		if err := s.block(&b); err != nil {
			return err
		}
	}
	return rows.Err()
}

// block searches a block. A row that has changed since is no longer what the block says.
func (s *search) block(b *block) error {
	if !s.newestFirst() && len(s.found) == s.n {
		first, err := b.col(s.list.order.keys[0])
		if err != nil || first.highest(s.found[s.n-1][0]) < 0 {
			return err
		}
	}
	rows, err := b.find(s.list.filter, &s.scratch)
	if err != nil || len(rows) == 0 {
		return err
	}
	row := &blockRow{keys: make([]*packed, len(s.list.order.keys))}
	for i, k := range s.list.order.keys {
		if row.keys[i], err = b.col(k); err != nil {
			return err
		}
	}
	var changed map[any]bool
	for _, row.i = range rows {
		if s.list.after != nil && row.compare(s.list.after) <= 0 {
			continue
		}
		place, better := s.place(row)
		if !better {
			continue
		}
		if changed == nil {
			if changed, err = s.changes(b); err != nil {
				return err
			}
		}
		keys := make([]any, len(row.keys))
		for j, k := range row.keys {
			keys[j] = k.value(row.i)
		}
		if !changed[keys[len(keys)-1]] {
			s.insert(place, keys)
		}
	}
	return nil
}

// changes are the keys of the rows of a block that have changed.
func (s *search) changes(b *block) (map[any]bool, error) {
	out := map[any]bool{}
	err := eachRow(s.tx, fmt.Sprintf("SELECT changed FROM %s WHERE block = ?", s.t.notes), []any{b.lo}, 1, func(v []any) error {
		out[v[0]] = true
		return nil
	})
	return out, err
}

// compareKeys compares two values of a column.
func compareKeys(a, b any) int {
	switch a := a.(type) {
	case int64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, b)
		}
	case float64:
		if b, ok := b.(float64); ok {
			return cmp.Compare(a, b)
		}
	case string:
		if b, ok := b.(string); ok {
			return strings.Compare(a, b)
		}
	}
	return 0
}
