package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"
	"modernc.org/sqlite"

	"netlyra/internal/models"
)

// maxPoints bounds what one Series returns; 30 days of minutes fit.
const maxPoints = 50_000

// query runs a read with the store's time limit.
func (s *Store) query(ctx context.Context, do func(db *gorm.DB) error) error {
	limited, cancel := context.WithTimeout(ctx, s.opts.QueryTimeout)
	defer cancel()
	var err error
	for range 2 { // the writer may have opened the database anew in between
		r := s.readers.Load()
		if r == nil {
			err = errNotOpen
			continue
		}
		if err = do(r.gorm.WithContext(limited)); err == nil || s.readers.Load() == r {
			break
		}
	}
	if err == nil || errors.Is(err, gorm.ErrRecordNotFound) {
		if s.health.reading.Load() && s.health.set(troubleReading, "", "", s.opts.Now()) {
			s.log.LogAttrs(ctx, slog.LevelInfo, "database can be read again", slog.String("path", s.opts.Path))
		}
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil, errors.Is(err, models.ErrQueryTimeout):
		return fmt.Errorf("store: %w", models.ErrQueryTimeout)
	case errors.Is(err, gorm.ErrRecordNotFound):
		return fmt.Errorf("store: %w", models.ErrNotFound)
	}
	return s.unreadable(ctx, err)
}

// unreadable says why the database cannot be read, in the error and in Health.
func (s *Store) unreadable(ctx context.Context, err error) error {
	if errors.Is(err, errNotOpen) {
		h := s.Health()
		return fmt.Errorf("store: %w: %s", kindOf(h.Code, models.ErrUnreadable), h.Problem)
	}
	code, text := problem(s.opts.Path, err)
	if damaged(err) {
		s.suspect.Store(true)
	}
	switch code {
	case models.StoreLocked:
		return fmt.Errorf("store: %w: %w", models.ErrBusy, err)
	case models.StoreFailing:
		text = s.opts.Path + " cannot be read: " + err.Error()
	}
	if code != models.StoreDescriptors {
		code = models.StoreUnreadable
	}
	if s.health.set(troubleReading, code, text, s.opts.Now()) {
		s.log.LogAttrs(ctx, slog.LevelError, "database cannot be read", slog.String("problem", text), slog.String("error", err.Error()))
	}
	return fmt.Errorf("store: %w: %w", models.ErrUnreadable, err)
}

// kindOf is the error that callers tell a problem by.
func kindOf(code string, otherwise error) error {
	if code == models.StoreLocked {
		return models.ErrBusy
	}
	return otherwise
}

// Alert reads one alert; models.ErrNotFound if there is none with this id.
func (s *Store) Alert(ctx context.Context, id string) (*models.Alert, error) {
	var a models.Alert
	err := s.query(ctx, func(db *gorm.DB) error { return db.Take(&a, "id = ?", id).Error })
	if err != nil {
		return nil, err
	}
	return &a, nil
}

// Alerts reads a page of alerts, newest first unless q asks for another order.
func (s *Store) Alerts(ctx context.Context, q models.AlertQuery) (models.Page[models.Alert], error) {
	var f filter // what costs least comes first
	f.port(q.Port)
	f.atLeast("score", q.MinScore)
	f.since("ts", q.From)
	f.before("ts", q.To)
	f.digest("community_id", q.CommunityID)
	f.equal("proto", q.Proto)
	f.equal("state", string(q.State))
	f.equal("sensor", q.Sensor)
	f.oneOf("category", texts(q.Categories))
	f.oneOf("severity", texts(q.Severities))
	switch q.Triage {
	case "":
		f.listed()
	case models.TriageAll:
	default:
		f.equal("triage", string(q.Triage))
	}
	f.host(q.Host)
	f.contains(q.Text, "summary", "src_ip", "dst_ip", "id")
	orders := map[models.Sort]order{
		models.SortNewest:   {keys: []string{"ts", "id"}},
		models.SortScore:    {keys: []string{"score", "ts", "id"}},
		models.SortSeverity: {keys: []string{severityRank, "ts", "id"}},
	}
	return page[models.Alert](ctx, s, list{table: "alerts", filter: f, blocked: s.blocked["alerts"]}, orders, q.Sort, q.Limit, q.Cursor)
}

// severityRank orders severities as models.Severities does.
const severityRank = "CASE severity WHEN 'low' THEN 0 WHEN 'medium' THEN 1 WHEN 'high' THEN 2 ELSE 3 END"

// connectionBytes and hostBytes are what went both ways; a sum that no integer holds would be another type.
const (
	connectionBytes = "min(bytes_up, 4611686018427387903) + min(bytes_down, 4611686018427387903)"
	hostBytes       = "min(bytes_sent, 4611686018427387903) + min(bytes_recv, 4611686018427387903)"
)

// Connections reads a page of connections, newest first unless q asks for another order. Those that are still open are as of their
// last flush.
func (s *Store) Connections(ctx context.Context, q models.ConnectionQuery) (models.Page[models.Connection], error) {
	var f filter // what costs least comes first
	f.port(q.Port)
	f.atLeast("score", q.MinScore)
	f.since("last_ts", q.From)
	f.before("first_ts", q.To)
	f.digest("community_id", q.CommunityID)
	f.equal("proto", q.Proto)
	f.oneOf("state", q.States)
	f.equal("sensor", q.Sensor)
	f.equal("alert", q.Alert)
	f.host(q.Host)
	f.contains(q.Text, "sni", "src_ip", "dst_ip")
	orders := map[models.Sort]order{
		models.SortNewest: {keys: []string{"id"}},
		models.SortBytes:  {keys: []string{connectionBytes, "id"}},
	}
	return page[models.Connection](ctx, s, list{table: "connections", filter: f, blocked: s.blocked["connections"]}, orders, q.Sort, q.Limit, q.Cursor)
}

// Hosts reads a page of hosts, those seen last first unless q asks for another order, and says how many there are in all.
func (s *Store) Hosts(ctx context.Context, q models.HostQuery) (models.Page[models.Host], error) {
	var f filter
	f.within(q.Prefix, "ip")
	f.contains(q.Text, "ip", "mac")
	f.equal("sensor", q.Sensor)
	f.since("last_ts", q.Since)
	orders := map[models.Sort]order{
		models.SortNewest:  {keys: []string{"last_ts", "ip", "rowid"}},
		models.SortBytes:   {keys: []string{hostBytes, "ip", "rowid"}},
		models.SortAddress: {keys: []string{"ip", "rowid"}, ascending: true},
	}
	l := list{table: "hosts", filter: f}
	p, err := page[models.Host](ctx, s, l, orders, q.Sort, q.Limit, q.Cursor)
	if err != nil {
		return p, err
	}
	var total uint64
	err = s.query(ctx, func(db *gorm.DB) error {
		return db.Raw("SELECT count(*) FROM hosts"+l.filter.sql(), l.filter.args()...).Scan(&total).Error
	})
	p.Total = &total
	return p, err
}

// Host reads what a sensor has seen of an address; without a sensor, what the one has that saw it last. models.ErrNotFound if there is
// none with this address.
func (s *Store) Host(ctx context.Context, ip, sensor string) (models.Host, error) {
	var h models.Host
	err := s.query(ctx, func(db *gorm.DB) error {
		return db.Where("ip = ?1 AND (sensor = ?2 OR ?2 = '')", ip, sensor).Order("last_ts DESC").Take(&h).Error
	})
	return h, err
}

// Series reads the points of one step that start in [From, To), in order of time. Steps without traffic are left out. Ten seconds
// are the sum of seconds, an hour is that of minutes: it has as much of them as is kept.
func (s *Store) Series(ctx context.Context, q models.SeriesQuery) ([]models.SeriesPoint, error) {
	source := int64(0)
	switch q.Step {
	case stepSecond, 10 * stepSecond:
		source = stepSecond
	case stepMinute, 60 * stepMinute:
		source = stepMinute
	default:
		return nil, fmt.Errorf("store: step %d: %w: it is 1, 10, 60 or 3600", q.Step, models.ErrBadQuery)
	}
	points := []models.SeriesPoint{}
	err := s.query(ctx, func(db *gorm.DB) error {
		// sum() fails where no integer holds the sum; total() counts in floating point, and the cast stops at an integer's end.
		return db.Raw(`SELECT ?1 AS step, ts - ts % ?1 AS ts, CAST(total(packets) AS INTEGER) AS packets, CAST(total(bytes) AS INTEGER) AS bytes,
			CAST(total(tcp_bytes) AS INTEGER) AS tcp_bytes, CAST(total(udp_bytes) AS INTEGER) AS udp_bytes, CAST(total(other_bytes) AS INTEGER) AS other_bytes,
			CAST(total(connections) AS INTEGER) AS connections, CAST(total(drops) AS INTEGER) AS drops
			FROM series_points WHERE step = ?2 AND ts >= ?3 AND ts < ?4 AND (sensor = ?6 OR ?6 = '') GROUP BY ts - ts % ?1 ORDER BY 2 LIMIT ?5`,
			q.Step, source, ceil(max(q.From, 0), q.Step), ceil(max(q.To, 0), q.Step), maxPoints, q.Sensor).Scan(&points).Error
	})
	return points, err
}

// ceil is the first multiple of step at or after t.
func ceil(t, step int64) int64 { return floor(t+step-1, step) }

// Counts says how much is stored.
func (s *Store) Counts(ctx context.Context) (models.StoreCounts, error) {
	var c models.StoreCounts
	err := s.query(ctx, func(db *gorm.DB) error {
		return db.Raw(`SELECT (SELECT count(*) FROM alerts) AS alerts, (SELECT count(*) FROM connections) AS connections,
			(SELECT count(*) FROM hosts) AS hosts`).Scan(&c).Error
	})
	if err != nil {
		return c, err
	}
	err = s.query(ctx, func(db *gorm.DB) error {
		pool, err := db.DB()
		if err == nil {
			c.Bytes, err = usedBytes(ctx, pool)
		}
		return err
	})
	return c, err
}

// usedBytes is the size of the database without its free pages.
func usedBytes(ctx context.Context, db *sql.DB) (int64, error) {
	var used int64
	err := db.QueryRowContext(ctx, `SELECT (page_count - freelist_count) * page_size
		FROM pragma_page_count, pragma_freelist_count, pragma_page_size`).Scan(&used)
	if err != nil {
		return 0, fmt.Errorf("store: size of the database: %w", err)
	}
	return used, nil
}

// condition is one of a filter, for a row of the database in SQL and for a row of a block in Go. The SQL's texts are constants of this
// package, the values are bound.
type condition struct {
	sql  string
	args []any

	columns []string          // one of these has
	match   func(string) bool // a text like this, or
	lo, hi  int64             // a number in this range, both ends included

	part   string // is in every text that matches; "": nothing is
	folded bool   // part is in lower case, whatever the text is in
}

// filter is a list of conditions that must all hold.
type filter []condition

func (f *filter) equal(col, v string) {
	if v != "" {
		f.oneOf(col, []string{v})
	}
}

// oneOf demands one of vs, unless there is none.
func (f *filter) oneOf(col string, vs []string) {
	if len(vs) == 0 {
		return
	}
	c := condition{sql: col + " IN (" + marks(len(vs)) + ")", columns: []string{col}, match: func(v string) bool { return slices.Contains(vs, v) }}
	for _, v := range vs {
		c.args = append(c.args, v)
	}
	if len(vs) == 1 {
		c.part = vs[0]
	}
	*f = append(*f, c)
}

// listed demands alerts that are not hidden.
func (f *filter) listed() {
	hidden := string(models.TriageHidden)
	*f = append(*f, condition{sql: "triage <> ?", args: []any{hidden}, columns: []string{"triage"}, match: func(v string) bool { return v != hidden }})
}

// marks are the places of n values.
func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

// digest demands a text of which blocks keep a digest.
func (f *filter) digest(col, v string) {
	if v != "" {
		*f = append(*f, condition{sql: col + " = ?", args: []any{v}, columns: []string{col}, lo: digest(v), hi: digest(v)})
	}
}

// host demands that an address of either side lies in a prefix.
func (f *filter) host(p netip.Prefix) { f.within(p, "src_ip", "dst_ip") }

// within demands that the address of one of the columns lies in a prefix.
func (f *filter) within(p netip.Prefix, cols ...string) {
	if !p.IsValid() {
		return
	}
	if p.IsSingleIP() {
		v := p.Addr().String()
		f.any("%s = ?", []any{v}, condition{columns: cols, match: func(text string) bool { return text == v }, part: v})
		return
	}
	octets := ":" // nothing but addresses of IPv6
	if p.Addr().Is4() {
		octets = ""
		for _, b := range p.Addr().AsSlice()[:p.Bits()/8] {
			octets += strconv.Itoa(int(b)) + "."
		}
	}
	// GLOB costs a fifth of within, which a row must have passed all the same.
	f.any("((%[1]s GLOB ? OR %[1]s GLOB '*:*') AND within(%[1]s, ?))", []any{octets + "*", p.String()}, condition{columns: cols, match: func(text string) bool {
		return (strings.HasPrefix(text, octets) || strings.Contains(text, ":")) && p.Contains(parseAddr(text))
	}})
}

// any adds a condition that must hold for one of its columns. The SQL has %s for the column.
func (f *filter) any(sql string, args []any, c condition) {
	parts := make([]string, len(c.columns))
	for i, col := range c.columns {
		parts[i] = fmt.Sprintf(sql, col)
		c.args = append(c.args, args...)
	}
	c.sql = "(" + strings.Join(parts, " OR ") + ")"
	*f = append(*f, c)
}

// port demands that a port of either side is this one.
func (f *filter) port(port uint16) {
	if port != 0 {
		f.any("%s = ?", []any{port}, condition{columns: []string{"src_port", "dst_port"}, lo: int64(port), hi: int64(port)})
	}
}

// contains demands that one of the columns has text in it; case does not count for ASCII letters.
func (f *filter) contains(text string, cols ...string) {
	if text == "" {
		return
	}
	pattern := "%" + strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(text) + "%"
	text = fold(text)
	f.any(`%s LIKE ? ESCAPE '\'`, []any{pattern}, condition{
		columns: cols, match: func(v string) bool { return strings.Contains(fold(v), text) }, part: text, folded: true,
	})
}

func texts[T ~string](vs []T) []string {
	out := make([]string, len(vs))
	for i, v := range vs {
		out[i] = string(v)
	}
	return out
}

func (f *filter) atLeast(col string, v float64) {
	if v > 0 {
		*f = append(*f, condition{sql: col + " >= ?", args: []any{v}, columns: []string{col}, lo: ordered(v), hi: math.MaxInt64})
	}
}

// since demands a time at or after t, unless that is 0. The plus keeps SQLite from going along an index down to t where the rest ends before that
// (https://sqlite.org/optoverview.html#disqualifying_where_clause_terms_using_unary_).
func (f *filter) since(col string, t models.Micros) {
	if t != 0 {
		*f = append(*f, condition{sql: "+" + col + " >= ?", args: []any{int64(t)}, columns: []string{col}, lo: int64(t), hi: math.MaxInt64})
	}
}

// before demands a time before t, unless that is 0.
func (f *filter) before(col string, t models.Micros) {
	if t != 0 {
		*f = append(*f, condition{sql: col + " < ?", args: []any{int64(t)}, columns: []string{col}, lo: math.MinInt64, hi: int64(t) - 1})
	}
}

// sql is the WHERE clause, "" without conditions.
func (f filter) sql() string {
	if len(f) == 0 {
		return ""
	}
	parts := make([]string, len(f))
	for i, c := range f {
		parts[i] = c.sql
	}
	return " WHERE " + strings.Join(parts, " AND ")
}

func (f filter) args() (args []any) {
	for _, c := range f {
		args = append(args, c.args...)
	}
	return args
}

// with adds a condition that only the database knows.
func (f filter) with(sql string, args ...any) filter {
	return append(slices.Clone(f), condition{sql: sql, args: args})
}

// order is how a list is sorted: by keys, expressions the last of which tells rows apart; the highest first.
type order struct {
	keys      []string
	ascending bool
}

// sql is the ORDER BY clause.
func (o order) sql() string {
	if o.ascending {
		return " ORDER BY " + strings.Join(o.keys, ", ")
	}
	return " ORDER BY " + strings.Join(o.keys, " DESC, ") + " DESC"
}

// after demands rows behind the one with the given keys; nil: any.
func (o order) after(f filter, keys []any) filter {
	if keys == nil {
		return f
	}
	op := " < "
	if o.ascending {
		op = " > "
	}
	return f.with("("+strings.Join(o.keys, ", ")+")"+op+"("+marks(len(keys))+")", keys...)
}

// last is the key that tells rows apart.
func (o order) last() string { return o.keys[len(o.keys)-1] }

// list is one kind of page.
type list struct {
	table   string
	filter  filter
	blocked *blocked // nil: the table is searched as it is
	order   order
	after   []any // keys of the row before the page; nil: it is the first
}

// sql selects the keys of the first n rows of a source that match f.
func (l list) sql(from string, f filter, n int) (string, []any) {
	f = l.order.after(f, l.after)
	return fmt.Sprintf("SELECT %s FROM %s%s%s LIMIT %d", strings.Join(l.order.keys, ", "), from, f.sql(), l.order.sql(), n), f.args()
}

// page reads one page: first which rows are on it, and one more to know whether there is a next one, then the rows.
func page[T any](ctx context.Context, s *Store, l list, orders map[models.Sort]order, by models.Sort, limit int, c models.Cursor) (models.Page[T], error) {
	p := models.Page[T]{Items: []T{}}
	limit = cmp.Or(limit, models.DefaultPageLimit)
	if limit < 1 || limit > models.MaxPageLimit {
		return p, fmt.Errorf("store: limit %d: %w: it is 1 to %d", limit, models.ErrBadQuery, models.MaxPageLimit)
	}
	by = cmp.Or(by, models.SortNewest)
	known := false
	if l.order, known = orders[by]; !known {
		return p, fmt.Errorf("store: sort %q: %w: %s are not sorted by it", by, models.ErrBadQuery, l.table)
	}
	name := l.table + "/" + string(by)
	if c != "" {
		var err error
		if l.after, err = parseCursor(c, name, len(l.order.keys)); err != nil {
			return p, err
		}
		if l.blocked != nil && !l.blocked.keysFit(l.order, l.after) {
			return p, badCursor(c, name)
		}
	}
	err := s.query(ctx, func(db *gorm.DB) error {
		return db.Transaction(func(tx *gorm.DB) error { // so that all reads see the same state
			rows, err := l.find(tx, limit+1)
			if err != nil {
				return err
			}
			if len(rows) > limit {
				rows = rows[:limit]
				p.Next = cursor(name, rows[limit-1])
			}
			return fetch(tx, l, "*", rows, &p.Items)
		})
	})
	if err != nil {
		return models.Page[T]{}, err
	}
	return p, nil
}

// find reads the keys of the rows that come first. Where a block is damaged, it does so without blocks, and has them written anew.
func (l list) find(tx *gorm.DB, n int) ([][]any, error) {
	if l.blocked != nil {
		rows, err := newSearch(tx, l, n).run()
		if !errors.Is(err, errBadBlock) {
			return rows, err
		}
		l.blocked.bad.Store(true)
	}
	var out [][]any
	text, args := l.sql(l.table, l.filter, n)
	err := eachRow(tx, text, args, len(l.order.keys), func(keys []any) error {
		out = append(out, slices.Clone(keys))
		return nil
	})
	return out, err
}

// eachRow calls do with the values of each row; they are good until it returns.
func eachRow(tx *gorm.DB, text string, args []any, columns int, do func([]any) error) (err error) {
	rows, err := tx.Raw(text, args...).Rows()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	values, into := make([]any, columns), make([]any, columns)
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := do(values); err != nil {
			return err
		}
	}
	return rows.Err()
}

// fetch reads columns of rows by their keys, in the list's order. What blocks have found is held against the filter itself: a digest may deceive.
func fetch[T any](tx *gorm.DB, l list, columns string, rows [][]any, into *[]T) error {
	if len(rows) == 0 {
		return nil
	}
	ids := make([]any, len(rows))
	for i, keys := range rows {
		ids[i] = keys[len(keys)-1]
	}
	f := l.filter.with(l.order.last()+" IN ("+marks(len(rows))+")", ids...)
	return tx.Raw("SELECT "+columns+" FROM "+l.table+f.sql()+l.order.sql(), f.args()...).Scan(into).Error
}

// cursor writes the place behind a row: the list it belongs to, and the row's keys, each with its type before it.
func cursor(list string, keys []any) models.Cursor {
	parts := []string{list}
	for _, k := range keys {
		switch k := k.(type) {
		case int64:
			parts = append(parts, "i"+strconv.FormatInt(k, 10))
		case float64:
			parts = append(parts, "f"+strconv.FormatFloat(k, 'g', -1, 64))
		default:
			parts = append(parts, fmt.Sprintf("s%s", k))
		}
	}
	b, err := json.Marshal(parts)
	if err != nil {
		panic(err) // texts can be written
	}
	return models.Cursor(base64.RawURLEncoding.EncodeToString(b))
}

func badCursor(c models.Cursor, list string) error {
	return fmt.Errorf("store: cursor %q: %w: it must be the \"next\" of a page of %s", c, models.ErrBadQuery, list)
}

func parseCursor(c models.Cursor, list string, n int) ([]any, error) {
	bad := badCursor(c, list)
	b, err := base64.RawURLEncoding.DecodeString(string(c))
	if err != nil {
		return nil, bad
	}
	var parts []string
	if json.Unmarshal(b, &parts) != nil || len(parts) != n+1 || parts[0] != list {
		return nil, bad
	}
	keys := make([]any, n)
	for i, p := range parts[1:] {
		if p == "" {
			return nil, bad
		}
		switch p[0] {
		case 'i':
			keys[i], err = strconv.ParseInt(p[1:], 10, 64)
		case 'f':
			keys[i], err = strconv.ParseFloat(p[1:], 64)
		case 's':
			keys[i] = p[1:]
		default:
			return nil, bad
		}
		if err != nil {
			return nil, bad
		}
	}
	return keys, nil
}

// connector opens connections that know our own functions of SQL.
type connector struct {
	dsn    string
	driver *sqlite.Driver
}

func newConnector(dsn string) (*connector, error) {
	c := &connector{dsn: dsn, driver: &sqlite.Driver{}}
	if err := c.driver.RegisterDeterministicScalarFunction("within", 2, within); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return c, nil
}

// Connect opens a connection.
func (c *connector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }

// Driver is the connector's.
func (c *connector) Driver() driver.Driver { return c.driver }

// within says whether an address lies in a prefix; what is no address lies in none.
func within(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
	address, _ := args[0].(string)
	prefix, _ := args[1].(string)
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		return nil, fmt.Errorf("store: prefix %q: %w", prefix, err)
	}
	return p.Contains(parseAddr(address)), nil
}
