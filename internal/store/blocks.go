package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	blockRows    = 2048 // rows of a block, about
	blockChanges = 32   // this part of its rows may have changed before a block is written anew
	blocksEvery  = 8    // of the writer's time, blocks take this part at most
	blockPause   = time.Second
)

// blocked describes a table whose lists are searched in blocks.
//
// A block holds, column by column, what filters and orders look at in some 2,048 rows that follow each other by the column place. Blocks
// lie next to each other, without gaps, from the smallest place there can be up to the end of the newest. Behind it is the rest: rows that
// are read one by one. Triggers note which rows have changed, come or gone since their block was written: those are read one by one, too.
// So blocks are exact at any time, whenever they are written.
type blocked struct {
	table   string // its rows are told apart by id
	blocks  string // table of the blocks
	columns string // table of their columns
	notes   string // table of what has changed
	place   string
	size    int // rows of a block, about
	rest    int // newest rows that are in no block: those that are likely to change
	cols    []column

	bad atomic.Bool // a reader has found a damaged block: all are to be written anew
}

// blockedTables are those that there are, by name.
func blockedTables() map[string]*blocked {
	same := func(kind columnKind, names ...string) (cols []column) {
		for _, n := range names {
			cols = append(cols, column{n, kind, n})
		}
		return cols
	}
	return map[string]*blocked{
		"connections": {
			table: "connections", blocks: "connection_blocks", columns: "connection_columns", notes: "connection_changes", place: "id", size: blockRows,
			rest: 8 * blockRows,
			cols: slices.Concat(
				same(intColumn, "id", "src_port", "dst_port", "first_ts", "last_ts"), same(realColumn, "score"),
				same(textColumn, "sensor", "src_ip", "dst_ip", "proto", "state", "alert"), same(foldedColumn, "sni"), same(digestColumn, "community_id"),
				[]column{{"bytes", intColumn, connectionBytes}},
			),
		},
		"alerts": {
			table: "alerts", blocks: "alert_blocks", columns: "alert_columns", notes: "alert_changes", place: "ts", size: blockRows, rest: blockRows,
			cols: slices.Concat(
				same(intColumn, "ts", "src_port", "dst_port"), same(realColumn, "score"),
				same(textColumn, "id", "sensor", "src_ip", "dst_ip", "proto", "state", "category", "severity", "triage"), same(foldedColumn, "summary"),
				same(digestColumn, "community_id"), []column{{"severity_rank", intColumn, severityRank}},
			),
		},
	}
}

// exprs are the columns' expressions.
func (t *blocked) exprs() string {
	all := make([]string, len(t.cols))
	for i, c := range t.cols {
		all[i] = c.sql
	}
	return strings.Join(all, ", ")
}

// asked are the columns that a filter looks at.
func (t *blocked) asked(f filter) (cols []column) {
	for _, c := range t.cols {
		if slices.ContainsFunc(f, func(one condition) bool { return slices.Contains(one.columns, c.sql) }) {
			cols = append(cols, c)
		}
	}
	return cols
}

// keysFit says whether values are of the types that an order's keys have.
func (t *blocked) keysFit(o order, values []any) bool {
	for i, k := range o.keys {
		at := slices.IndexFunc(t.cols, func(c column) bool { return c.sql == k })
		fits := false
		switch t.cols[at].kind {
		case intColumn, digestColumn:
			_, fits = values[i].(int64)
		case realColumn:
			_, fits = values[i].(float64)
		case textColumn, foldedColumn:
			_, fits = values[i].(string)
		}
		if !fits {
			return false
		}
	}
	return true
}

// stretch is a part of a table, from lo to hi by place, both included.
type stretch struct{ lo, hi int64 }

// blocksStep writes one block, or a few that were one, if it is time to, and says whether it did. It waits as long as the pieces before
// it have left to the other work.
func (w *writer) blocksStep(ctx context.Context) (worked bool, err error) {
	start := time.Now()
	if start.Before(w.blocksNext) || w.space.low {
		return false, nil
	}
	worked, err = w.writeBlocks(ctx)
	w.blocksNext = time.Now().Add((blocksEvery - 1) * time.Since(start))
	if !worked || err != nil {
		w.blocksNext = start.Add(min(blockPause, w.opts.RetainEvery))
	}
	return worked, err
}

// writeBlocks writes the blocks of one stretch, if there is one that needs it.
func (w *writer) writeBlocks(ctx context.Context) (worked bool, err error) {
	err = w.transact(ctx, func(tx *sql.Tx) error {
		for _, t := range w.blocked {
			if t.bad.Swap(false) {
				worked, w.toCome[t] = true, 0
				return t.drop(ctx, tx)
			}
			s, found, err := t.changed(ctx, tx)
			if !found && err == nil && w.toCome[t] <= 0 {
				s, found, w.toCome[t], err = t.grown(ctx, tx)
			}
			if err != nil {
				return err
			}
			if found {
				worked = true
				return t.write(ctx, tx, s)
			}
		}
		return nil
	})
	return worked, err
}

// drop deletes all blocks. They hold nothing that the table has not.
func (t *blocked) drop(ctx context.Context, tx *sql.Tx) error {
	for _, name := range []string{t.blocks, t.columns, t.notes} {
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+name); err != nil {
			return fmt.Errorf("store: %s: %w", name, err)
		}
	}
	return nil
}

// changed finds the block with the most changes. One of which little is left is joined with the next.
func (t *blocked) changed(ctx context.Context, tx *sql.Tx) (s stretch, found bool, err error) {
	left := 0
	err = tx.QueryRowContext(ctx, fmt.Sprintf(`SELECT lo, hi, (SELECT count(*) FROM (SELECT 1 FROM %[3]s WHERE %[4]s BETWEEN lo AND hi LIMIT %[5]d))
		FROM (SELECT block, count(*) AS n FROM %[2]s GROUP BY block ORDER BY n DESC LIMIT 1) JOIN %[1]s ON lo = block WHERE n >= %[6]d`,
		t.blocks, t.notes, t.table, t.place, t.size/2, t.size/blockChanges)).Scan(&s.lo, &s.hi, &left)
	if errors.Is(err, sql.ErrNoRows) {
		return s, false, nil
	}
	if err == nil && left < t.size/2 {
		err = tx.QueryRowContext(ctx, fmt.Sprintf(`SELECT COALESCE((SELECT hi FROM %s WHERE lo > ? ORDER BY lo LIMIT 1), ?)`, t.blocks), s.lo, s.hi).Scan(&s.hi)
	}
	if err != nil {
		return s, false, fmt.Errorf("store: changes of %s: %w", t.blocks, err)
	}
	return s, true, nil
}

// grown finds the oldest rows of the rest, if that is larger than it has to be; else it says how many rows have to come before that can be.
func (t *blocked) grown(ctx context.Context, tx *sql.Tx) (s stretch, found bool, toCome int, err error) {
	end, begun, err := t.end(ctx, tx)
	if err != nil {
		return s, false, 0, err
	}
	s.lo = math.MinInt64
	if begun {
		s.lo = end + 1
	}
	n := 0
	err = tx.QueryRowContext(ctx, fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM %[1]s WHERE %[2]s >= ? ORDER BY %[2]s LIMIT ?)", t.table, t.place),
		s.lo, t.rest+t.size).Scan(&n)
	if err == nil && n < t.rest+t.size {
		return s, false, t.rest + t.size - n, nil
	}
	if err == nil {
		err = tx.QueryRowContext(ctx, fmt.Sprintf("SELECT %[2]s FROM %[1]s WHERE %[2]s >= ? ORDER BY %[2]s LIMIT 1 OFFSET ?", t.table, t.place),
			s.lo, t.size-1).Scan(&s.hi)
	}
	if err != nil {
		return s, false, 0, fmt.Errorf("store: rows of %s: %w", t.table, err)
	}
	return s, true, 0, nil
}

// querier is a transaction, or a connection.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// end is where the newest block ends. begun: there is one.
func (t *blocked) end(ctx context.Context, q querier) (end int64, begun bool, err error) {
	err = q.QueryRowContext(ctx, fmt.Sprintf("SELECT hi FROM %s ORDER BY lo DESC LIMIT 1", t.blocks)).Scan(&end)
	if errors.Is(err, sql.ErrNoRows) {
		return math.MinInt64, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("store: %s: %w", t.blocks, err)
	}
	return end, true, nil
}

// write puts the rows of a stretch into blocks, in place of those that are there. Rows of the same place are in the same block.
func (t *blocked) write(ctx context.Context, tx *sql.Tx, s stretch) (err error) {
	for _, q := range []string{
		fmt.Sprintf("DELETE FROM %s WHERE lo BETWEEN ? AND ?", t.blocks),
		fmt.Sprintf("DELETE FROM %s WHERE block BETWEEN ? AND ?", t.columns),
		fmt.Sprintf("DELETE FROM %s WHERE block BETWEEN ? AND ?", t.notes),
	} {
		if _, err := tx.ExecContext(ctx, q, s.lo, s.hi); err != nil {
			return fmt.Errorf("store: %s: %w", t.blocks, err)
		}
	}
	rows, err := tx.QueryContext(ctx, fmt.Sprintf("SELECT %[2]s, %[3]s FROM %[1]s WHERE %[2]s BETWEEN ? AND ? ORDER BY %[2]s", t.table, t.place, t.exprs()),
		s.lo, s.hi)
	if err != nil {
		return fmt.Errorf("store: rows of %s: %w", t.table, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	b := t.newBlock()
	place := int64(0)
	into := []any{&place}
	for i := range b.values {
		into = append(into, &b.values[i])
	}
	last := s.lo
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return fmt.Errorf("store: rows of %s: %w", t.table, err)
		}
		if b.rows >= t.size && place > last {
			if err := b.insert(ctx, tx, stretch{s.lo, last}); err != nil {
				return err
			}
			s.lo = last + 1
			b.reset()
		}
		last = place
		if err := b.add(); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("store: rows of %s: %w", t.table, err)
	}
	return b.insert(ctx, tx, s)
}

// newBlock is a block that is being filled.
type newBlock struct {
	t       *blocked
	rows    int
	values  []any // of the next row
	packers []packer
}

func (t *blocked) newBlock() *newBlock {
	b := &newBlock{t: t, values: make([]any, len(t.cols))}
	b.reset()
	return b
}

func (b *newBlock) reset() {
	b.rows, b.packers = 0, make([]packer, len(b.t.cols))
	for i, c := range b.t.cols {
		b.packers[i].kind = c.kind
	}
}

func (b *newBlock) add() error {
	b.rows++
	for i, v := range b.values {
		if err := b.packers[i].add(v); err != nil {
			return fmt.Errorf("store: %s.%s: %w", b.t.table, b.t.cols[i].sql, err)
		}
	}
	return nil
}

func (b *newBlock) insert(ctx context.Context, tx *sql.Tx, s stretch) error {
	_, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO %s (lo, hi, rows) VALUES (?, ?, ?)", b.t.blocks), s.lo, s.hi, b.rows)
	for i := 0; i < len(b.packers) && err == nil; i++ {
		_, err = tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO %s (block, name, data) VALUES (?, ?, ?)", b.t.columns),
			s.lo, b.t.cols[i].name, b.packers[i].pack(nil))
	}
	if err != nil {
		return fmt.Errorf("store: %s: %w", b.t.blocks, err)
	}
	return nil
}
