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
	var f filter
	f.equal("proto", q.Proto)
	f.equal("state", string(q.State))
	f.equal("sensor", q.Sensor)
	f.equal("community_id", q.CommunityID)
	f.oneOf("category", texts(q.Categories))
	f.oneOf("severity", texts(q.Severities))
	f.contains(q.Text, "summary", "src_ip", "dst_ip", "id")
	host := f.either(q.Host, q.Port)
	switch q.Triage {
	case "":
		f.add(listed)
	case models.TriageAll:
	default:
		f.equal("triage", string(q.Triage))
	}
	f.atLeast("score", q.MinScore)
	if q.From != 0 {
		f.add("ts >= ?", int64(q.From))
	}
	if q.To != 0 {
		f.add("ts < ?", int64(q.To))
	}
	orders := map[models.Sort]order{
		models.SortNewest:   {keys: []string{"ts", "id"}},
		models.SortScore:    {keys: []string{"score", "ts", "id"}},
		models.SortSeverity: {keys: []string{severityRank, "ts", "id"}},
	}
	return page[models.Alert](ctx, s, list{table: "alerts", filter: f, host: host}, orders, q.Sort, q.Limit, q.Cursor)
}

// severityRank orders severities as models.Severities does.
const severityRank = "CASE severity WHEN 'low' THEN 0 WHEN 'medium' THEN 1 WHEN 'high' THEN 2 ELSE 3 END"

// Connections reads a page of connections, newest first unless q asks for another order. Those that are still open are as of their
// last flush.
func (s *Store) Connections(ctx context.Context, q models.ConnectionQuery) (models.Page[models.Connection], error) {
	var f filter
	f.equal("proto", q.Proto)
	f.equal("sensor", q.Sensor)
	f.equal("community_id", q.CommunityID)
	f.equal("alert", q.Alert)
	f.oneOf("state", q.States)
	f.contains(q.Text, "sni", "src_ip", "dst_ip")
	f.atLeast("score", q.MinScore)
	if q.From != 0 {
		f.add("last_ts >= ?", int64(q.From))
	}
	if q.To != 0 {
		f.add("first_ts < ?", int64(q.To))
	}
	host := f.either(q.Host, q.Port)
	orders := map[models.Sort]order{
		models.SortNewest: {keys: []string{"id"}},
		models.SortBytes:  {keys: []string{"bytes_up + bytes_down", "id"}},
	}
	return page[models.Connection](ctx, s, list{table: "connections", filter: f, host: host}, orders, q.Sort, q.Limit, q.Cursor)
}

// Hosts reads a page of hosts, those seen last first unless q asks for another order, and says how many there are in all.
func (s *Store) Hosts(ctx context.Context, q models.HostQuery) (models.Page[models.Host], error) {
	var f filter
	if q.Prefix.IsValid() {
		f.add("within(ip, ?)", q.Prefix.String())
	}
	f.contains(q.Text, "ip", "mac")
	if q.Since != 0 {
		f.add("last_ts >= ?", int64(q.Since))
	}
	orders := map[models.Sort]order{
		models.SortNewest:  {keys: []string{"last_ts", "ip"}},
		models.SortBytes:   {keys: []string{"bytes_sent + bytes_recv", "ip"}},
		models.SortAddress: {keys: []string{"ip"}, ascending: true},
	}
	l := list{table: "hosts", filter: f}
	p, err := page[models.Host](ctx, s, l, orders, q.Sort, q.Limit, q.Cursor)
	if err != nil {
		return p, err
	}
	var total uint64
	err = s.query(ctx, func(db *gorm.DB) error {
		return db.Raw("SELECT count(*) FROM hosts"+l.filter.sql(), l.filter.args...).Scan(&total).Error
	})
	p.Total = &total
	return p, err
}

// Host reads one host; models.ErrNotFound if there is none with this address.
func (s *Store) Host(ctx context.Context, ip string) (models.Host, error) {
	var h models.Host
	err := s.query(ctx, func(db *gorm.DB) error { return db.Take(&h, "ip = ?", ip).Error })
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
		return db.Raw(`SELECT ?1 AS step, ts - ts % ?1 AS ts, sum(packets) AS packets, sum(bytes) AS bytes, sum(tcp_bytes) AS tcp_bytes,
			sum(udp_bytes) AS udp_bytes, sum(other_bytes) AS other_bytes, sum(connections) AS connections, sum(drops) AS drops
			FROM series_points WHERE step = ?2 AND ts >= ?3 AND ts < ?4 GROUP BY ts - ts % ?1 ORDER BY 2 LIMIT ?5`,
			q.Step, source, ceil(max(q.From, 0), q.Step), ceil(max(q.To, 0), q.Step), maxPoints).Scan(&points).Error
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

// listed is the condition of the index alerts_listed, which SQLite takes only for this very text
// (https://sqlite.org/partialindex.html).
const listed = "triage <> 'hidden'"

// filter is a list of conditions that must all hold. The texts are constants of this package, the values are bound.
type filter struct {
	where []string
	args  []any
}

func (f *filter) add(sql string, args ...any) {
	f.where = append(f.where, sql)
	f.args = append(f.args, args...)
}

func (f *filter) equal(col, v string) {
	if v != "" {
		f.add(col+" = ?", v)
	}
}

// oneOf demands one of vs, unless there is none.
func (f *filter) oneOf(col string, vs []string) {
	if len(vs) == 0 {
		return
	}
	args := make([]any, len(vs))
	for i, v := range vs {
		args[i] = v
	}
	f.add(col+" IN ("+marks(len(vs))+")", args...)
}

// marks are the places of n values.
func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

// either demands that an address of either side lies in host, and a port of either side is port. A single address on top of no other filter is
// given back instead: list reads it along the indexes of the two columns. With another filter that would read every row of a busy host
// in the order of its index, which is slower than to go over the table.
func (f *filter) either(host netip.Prefix, port uint16) (alone string) {
	switch {
	case !host.IsValid():
	case host.IsSingleIP() && port == 0 && len(f.where) == 0:
		return host.Addr().String()
	case host.IsSingleIP():
		f.add("(src_ip = ? OR dst_ip = ?)", host.Addr().String(), host.Addr().String())
	default:
		f.add("(within(src_ip, ?) OR within(dst_ip, ?))", host.String(), host.String())
	}
	if port != 0 {
		f.add("(src_port = ? OR dst_port = ?)", port, port)
	}
	return ""
}

// contains demands that one of the columns has text in it; case does not count for ASCII letters.
func (f *filter) contains(text string, cols ...string) {
	if text == "" {
		return
	}
	pattern := "%" + strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(text) + "%"
	parts := make([]string, len(cols))
	args := make([]any, len(cols))
	for i, col := range cols {
		parts[i], args[i] = col+` LIKE ? ESCAPE '\'`, pattern
	}
	f.add("("+strings.Join(parts, " OR ")+")", args...)
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
		f.add(col+" >= ?", v)
	}
}

// sql is the WHERE clause, "" without conditions.
func (f filter) sql() string {
	if len(f.where) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(f.where, " AND ")
}

func (f filter) with(sql string, args ...any) filter {
	out := filter{where: slices.Clone(f.where), args: slices.Clone(f.args)}
	out.add(sql, args...)
	return out
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

// after demands rows behind the one with the given keys.
func (o order) after(f filter, keys []any) filter {
	op := " < "
	if o.ascending {
		op = " > "
	}
	return f.with("("+strings.Join(o.keys, ", ")+")"+op+"("+marks(len(keys))+")", keys...)
}

// list is one kind of page.
type list struct {
	table  string
	filter filter
	host   string // on either side; "": any
	order  order
}

// found is a row's number and its keys.
type found struct {
	row  int64
	keys []any
}

// sql selects the numbers and keys of n rows. A host's rows are read in two branches, each along the index of its column in the list's order,
// of which the second leaves out what the first has.
func (l list) sql(n int) (string, []any) {
	keys := make([]string, len(l.order.keys))
	for i, k := range l.order.keys {
		keys[i] = fmt.Sprintf("%s AS k%d", k, i)
	}
	one := func(f filter) string {
		return fmt.Sprintf("SELECT rowid AS n, %s FROM %s%s%s LIMIT %d", strings.Join(keys, ", "), l.table, f.sql(), l.order.sql(), n)
	}
	if l.host == "" {
		return one(l.filter), l.filter.args
	}
	src, dst := l.filter.with("src_ip = ?", l.host), l.filter.with("dst_ip = ? AND src_ip <> ?", l.host, l.host)
	outer := order{ascending: l.order.ascending}
	for i := range l.order.keys {
		outer.keys = append(outer.keys, fmt.Sprintf("k%d", i))
	}
	return fmt.Sprintf("SELECT * FROM (%s) UNION ALL SELECT * FROM (%s)%s LIMIT %d", one(src), one(dst), outer.sql(), n), slices.Concat(src.args, dst.args)
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
		keys, err := parseCursor(c, name, len(l.order.keys))
		if err != nil {
			return p, err
		}
		l.filter = l.order.after(l.filter, keys)
	}
	err := s.query(ctx, func(db *gorm.DB) error {
		rows, err := l.find(db, limit+1)
		if err != nil {
			return err
		}
		if len(rows) > limit {
			rows = rows[:limit]
			p.Next = cursor(name, rows[limit-1].keys)
		}
		return fetch(db, l, rows, &p.Items)
	})
	if err != nil {
		return models.Page[T]{}, err
	}
	return p, nil
}

// find reads which rows come first.
func (l list) find(db *gorm.DB, n int) (out []found, err error) {
	text, args := l.sql(n)
	rows, err := db.Raw(text, args...).Rows()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		f := found{keys: make([]any, len(l.order.keys))}
		into := []any{&f.row}
		for i := range f.keys {
			into = append(into, &f.keys[i])
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, rows.Err()
}

// fetch reads rows by their numbers, in the list's order.
func fetch[T any](db *gorm.DB, l list, rows []found, into *[]T) error {
	if len(rows) == 0 {
		return nil
	}
	numbers := make([]any, len(rows))
	for i, r := range rows {
		numbers[i] = r.row
	}
	return db.Raw("SELECT * FROM "+l.table+" WHERE rowid IN ("+marks(len(rows))+")"+l.order.sql(), numbers...).Scan(into).Error
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

func parseCursor(c models.Cursor, list string, n int) ([]any, error) {
	bad := fmt.Errorf("store: cursor %q: %w: it must be the \"next\" of a page of %s", c, models.ErrBadQuery, list)
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
