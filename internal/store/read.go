package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"netlyra/internal/models"
)

// maxPoints bounds what one Series returns; 30 days of minutes fit.
const maxPoints = 50_000

// query runs a read with the store's time limit.
func (s *Store) query(ctx context.Context, do func(db *gorm.DB) error) error {
	limited, cancel := context.WithTimeout(ctx, s.opts.QueryTimeout)
	defer cancel()
	err := do(s.read.WithContext(limited))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return fmt.Errorf("store: %w", models.ErrQueryTimeout)
	case errors.Is(err, gorm.ErrRecordNotFound):
		return fmt.Errorf("store: %w", models.ErrNotFound)
	}
	return fmt.Errorf("store: %w", err)
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

// Alerts reads a page of alerts, newest first.
func (s *Store) Alerts(ctx context.Context, q models.AlertQuery) (models.Page[models.Alert], error) {
	var f filter
	f.equal("proto", q.Proto)
	f.equal("state", string(q.State))
	f.equal("sensor", q.Sensor)
	f.oneOf("category", texts(q.Categories))
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
	if q.Cursor != "" {
		ts, id, err := parseCursor(q.Cursor, "alerts")
		if err != nil {
			return models.Page[models.Alert]{}, err
		}
		f.add("(ts, id) < (?, ?)", ts, id)
	}
	return page(ctx, s, list{
		table: "alerts", order: "ts DESC, id DESC", filter: f, host: address(q.Host), port: q.Port, limit: q.Limit,
	}, func(a *models.Alert) models.Cursor { return cursor("alerts", int64(a.TS), a.ID) })
}

// Connections reads a page of connections, newest first. Those that are still open are as of their last flush.
func (s *Store) Connections(ctx context.Context, q models.ConnectionQuery) (models.Page[models.Connection], error) {
	var f filter
	f.equal("proto", q.Proto)
	f.equal("sensor", q.Sensor)
	f.oneOf("state", q.States)
	f.atLeast("score", q.MinScore)
	if q.From != 0 {
		f.add("last_ts >= ?", int64(q.From))
	}
	if q.To != 0 {
		f.add("first_ts < ?", int64(q.To))
	}
	if q.Cursor != "" {
		id, _, err := parseCursor(q.Cursor, "connections")
		if err != nil {
			return models.Page[models.Connection]{}, err
		}
		f.add("id < ?", id)
	}
	return page(ctx, s, list{
		table: "connections", order: "id DESC", filter: f, host: address(q.Host), port: q.Port, limit: q.Limit,
	}, func(c *models.Connection) models.Cursor { return cursor("connections", c.ID, "") })
}

// Hosts reads a page of hosts in the order of their addresses' text.
func (s *Store) Hosts(ctx context.Context, q models.HostQuery) (models.Page[models.Host], error) {
	var f filter
	if q.Cursor != "" {
		_, ip, err := parseCursor(q.Cursor, "hosts")
		if err != nil {
			return models.Page[models.Host]{}, err
		}
		f.add("ip > ?", ip)
	}
	return page(ctx, s, list{table: "hosts", order: "ip", filter: f, limit: q.Limit},
		func(h *models.Host) models.Cursor { return cursor("hosts", 0, h.IP) })
}

// Series reads the points of one step (1 or 60 s) that start in [from, to), seconds since the Unix epoch, in order of
// time. Steps without traffic are left out.
func (s *Store) Series(ctx context.Context, step, from, to int64) ([]models.SeriesPoint, error) {
	if step != stepSecond && step != stepMinute {
		return nil, fmt.Errorf("store: step %d: %w: it is %d or %d", step, models.ErrBadQuery, stepSecond, stepMinute)
	}
	points := []models.SeriesPoint{}
	err := s.query(ctx, func(db *gorm.DB) error {
		return db.Where("step = ? AND ts >= ? AND ts < ?", step, from, to).Order("ts").Limit(maxPoints).Find(&points).Error
	})
	return points, err
}

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
	c.Bytes, err = usedBytes(ctx, s.reads)
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

// filter is a list of conditions that must all hold. The texts are constants of this file, the values are bound.
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
	f.add(col+" IN ("+strings.TrimSuffix(strings.Repeat("?, ", len(vs)), ", ")+")", args...)
}

func texts[T ~string](vs []T) []string {
	out := make([]string, len(vs))
	for i, v := range vs {
		out[i] = string(v)
	}
	return out
}

// address is the text of a prefix that holds one address; "" for none.
func address(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.Addr().String()
}

func (f *filter) atLeast(col string, v float64) {
	if v > 0 {
		f.add(col+" >= ?", v)
	}
}

func (f filter) sql() string { return strings.Join(f.where, " AND ") }

func (f filter) with(sql string, args ...any) filter {
	out := filter{where: append([]string(nil), f.where...), args: append([]any(nil), f.args...)}
	out.add(sql, args...)
	return out
}

// list is one kind of page.
type list struct {
	table, order string
	filter       filter
	host         string
	port         uint16
	limit        int
}

// sql builds the statement for n rows. A filter for either side becomes one branch for each, so that each runs along the
// index of its own column in the page's order; the second leaves out what the first has found.
func (l list) sql(n int) (string, []any) {
	branches := []filter{l.filter}
	switch {
	case l.host != "":
		f := l.filter
		if l.port != 0 {
			f = f.with("(src_port = ? OR dst_port = ?)", l.port, l.port)
		}
		branches = []filter{f.with("src_ip = ?", l.host), f.with("dst_ip = ? AND src_ip <> ?", l.host, l.host)}
	case l.port != 0:
		branches = []filter{
			l.filter.with("src_port = ?", l.port),
			l.filter.with("dst_port = ? AND src_port <> ?", l.port, l.port),
		}
	}
	var parts []string
	var args []any
	for _, f := range branches {
		where := ""
		if len(f.where) > 0 {
			where = " WHERE " + f.sql()
		}
		parts = append(parts, fmt.Sprintf("SELECT * FROM (SELECT * FROM %s%s ORDER BY %s LIMIT %d)", l.table, where, l.order, n))
		args = append(args, f.args...)
	}
	return fmt.Sprintf("%s ORDER BY %s LIMIT %d", strings.Join(parts, " UNION ALL "), l.order, n), args
}

// page reads one page, and one row more to know whether there is a next one.
func page[T any](ctx context.Context, s *Store, l list, at func(*T) models.Cursor) (models.Page[T], error) {
	limit := l.limit
	if limit == 0 {
		limit = models.DefaultPageLimit
	}
	if limit < 1 || limit > models.MaxPageLimit {
		return models.Page[T]{}, fmt.Errorf("store: limit %d: %w: it is 1 to %d", limit, models.ErrBadQuery, models.MaxPageLimit)
	}
	p := models.Page[T]{Items: []T{}}
	text, args := l.sql(limit + 1)
	err := s.query(ctx, func(db *gorm.DB) error { return db.Raw(text, args...).Scan(&p.Items).Error })
	if err != nil {
		return models.Page[T]{}, err
	}
	if len(p.Items) > limit {
		p.Items = p.Items[:limit]
		p.Next = at(&p.Items[limit-1])
	}
	return p, nil
}

// cursor writes the place behind a row: the list it belongs to, a number and a text.
func cursor(list string, n int64, id string) models.Cursor {
	return models.Cursor(base64.RawURLEncoding.EncodeToString([]byte(list + " " + strconv.FormatInt(n, 10) + " " + id)))
}

func parseCursor(c models.Cursor, list string) (n int64, id string, err error) {
	bad := fmt.Errorf("store: cursor %q: %w: it must be the \"next\" of a page of %s", c, models.ErrBadQuery, list)
	b, err := base64.RawURLEncoding.DecodeString(string(c))
	if err != nil {
		return 0, "", bad
	}
	parts := strings.SplitN(string(b), " ", 3)
	if len(parts) != 3 || parts[0] != list {
		return 0, "", bad
	}
	if n, err = strconv.ParseInt(parts[1], 10, 64); err != nil {
		return 0, "", bad
	}
	return n, parts[2], nil
}
