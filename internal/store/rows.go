package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"

	"gorm.io/gorm/schema"

	"netlyra/internal/models"
)

// table is what writing one kind of row needs: the columns of its model, and the statement that inserts or merges a row.
type table struct {
	name   string
	fields []*schema.Field
	upsert string
}

// tables are all kinds of rows.
type tables struct{ alerts, connections, hosts, series, exceptions table }

// newTables derives the statements from the models' tags.
func newTables() (t tables, err error) {
	cache := &sync.Map{}
	var errs []error
	make1 := func(model any, merge mergeRule) table {
		t, err := newTable(model, cache, merge)
		errs = append(errs, err)
		return t
	}
	t.alerts = make1(&models.Alert{}, mergeRule{
		key: []string{"id"}, keep: []string{"decided", "decided_at", "decided_by", "inserted_at"}, where: "excluded.rev > alerts.rev",
	})
	t.exceptions = make1(&models.Exception{}, mergeRule{key: []string{"id"}})
	// What never changes is not set again: an index on a column that a statement sets is rewritten even if the value
	// stays.
	t.connections = make1(&models.Connection{}, mergeRule{
		key: []string{"id"},
		keep: []string{
			"sensor", "src_ip", "dst_ip", "src_port", "dst_port", "proto", "vlan", "src_mac", "dst_mac", "icmp_type",
			"icmp_code", "community_id", "first_ts", "boot", "origin", "inserted_at",
		},
	})
	t.hosts = make1(&models.Host{}, mergeRule{
		key: []string{"sensor", "ip"}, keep: []string{"inserted_at"},
		set: map[string]string{
			"mac":      "CASE WHEN excluded.mac = '' THEN hosts.mac ELSE excluded.mac END",
			"first_ts": "min(hosts.first_ts, excluded.first_ts)",
			"last_ts":  "max(hosts.last_ts, excluded.last_ts)",
		},
		add: true,
	})
	t.series = make1(&models.SeriesPoint{}, mergeRule{key: []string{"sensor", "step", "ts"}, add: true})
	return t, errors.Join(errs...)
}

// mergeRule says how a row that is already there takes in another.
type mergeRule struct {
	key   []string          // the primary key
	keep  []string          // columns that stay as they are
	set   map[string]string // columns with an expression of their own
	add   bool              // the other columns are sums, which stop at an integer's end; otherwise they are replaced
	where string            // condition for merging at all
}

func newTable(model any, cache *sync.Map, m mergeRule) (table, error) {
	sch, err := schema.Parse(model, cache, schema.NamingStrategy{})
	if err != nil {
		return table{}, fmt.Errorf("store: model %T: %w", model, err)
	}
	t := table{name: sch.Table}
	var cols, sets []string
	for _, f := range sch.Fields {
		if f.DBName == "" {
			continue
		}
		t.fields = append(t.fields, f)
		col := quote(f.DBName)
		cols = append(cols, col)
		switch expr, own := m.set[f.DBName]; {
		case slices.Contains(m.key, f.DBName) || slices.Contains(m.keep, f.DBName):
		case own:
			sets = append(sets, col+" = "+expr)
		case m.add:
			sets = append(sets, fmt.Sprintf("%s = min(%s.%s + excluded.%s, %d)", col, t.name, col, col, math.MaxInt64))
		default:
			sets = append(sets, fmt.Sprintf("%s = excluded.%s", col, col))
		}
	}
	t.upsert = fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s) ON CONFLICT (%s) DO UPDATE SET %s",
		t.name, strings.Join(cols, ", "), strings.TrimSuffix(strings.Repeat("?, ", len(cols)), ", "),
		strings.Join(m.key, ", "), strings.Join(sets, ", "))
	if m.where != "" {
		t.upsert += " WHERE " + m.where
	}
	return t, nil
}

// quote makes a column's name safe: "end" is a keyword.
func quote(col string) string { return `"` + col + `"` }

// args appends the values of row, a pointer to the table's model, in the order of the columns.
func (t *table) args(dst []any, row any) ([]any, error) {
	ctx := context.Background()
	v := reflect.ValueOf(row)
	for _, f := range t.fields {
		value, _ := f.ValueOf(ctx, v)
		arg, err := toColumn(value)
		if err != nil {
			return nil, fmt.Errorf("store: %s.%s: %w", t.name, f.DBName, err)
		}
		dst = append(dst, arg)
	}
	return dst, nil
}

// position is where a column's value is among the args.
func (t *table) position(col string) int {
	return slices.IndexFunc(t.fields, func(f *schema.Field) bool { return f.DBName == col })
}

// toColumn converts a field to what a column can hold. SQLite's integers are signed: a counter stops at their end.
func toColumn(v any) (driver.Value, error) {
	switch v := v.(type) {
	case uint64:
		return int64(min(v, math.MaxInt64)), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%v: %w", v, errNotNumber)
		}
		return v, nil
	}
	return driver.DefaultParameterConverter.ConvertValue(v)
}

// statements are the writer's prepared statements.
type statements struct{ known, decide, alert, post, connection, host, point *sql.Stmt }

func prepare(ctx context.Context, db *sql.DB, t tables) (s statements, err error) {
	for _, p := range []struct {
		stmt **sql.Stmt
		sql  string
	}{
		{&s.known, "SELECT rev, triage, hidden_by, decided, decided_at, decided_by FROM alerts WHERE id = ?"},
		{&s.decide, "UPDATE alerts SET triage = ?, hidden_by = ? WHERE id = ?"},
		{&s.alert, t.alerts.upsert},
		{&s.post, "INSERT OR REPLACE INTO outbox (alert) VALUES (?)"},
		{&s.connection, t.connections.upsert},
		{&s.host, t.hosts.upsert},
		{&s.point, t.series.upsert},
	} {
		if *p.stmt, err = db.PrepareContext(ctx, p.sql); err != nil { //nolint:sqlclosecheck // Store.Close does
			return s, errors.Join(fmt.Errorf("store: prepare %q: %w", p.sql, err), s.close())
		}
	}
	return s, nil
}

func (s statements) close() error {
	var errs []error
	for _, st := range []*sql.Stmt{s.known, s.decide, s.alert, s.post, s.connection, s.host, s.point} {
		if st != nil {
			errs = append(errs, st.Close())
		}
	}
	return errors.Join(errs...)
}
