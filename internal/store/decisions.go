package store

import (
	"context"
	"database/sql"
	"strconv"
	"strings"

	"netlyra/internal/models"
)

// record keeps what a person has decided, in the transaction that does it.
func (s *Store) record(ctx context.Context, tx *sql.Tx, by models.Actor, action, object, detail string) error {
	res, err := tx.ExecContext(ctx, "INSERT INTO decisions (ts, who, whence, action, object, detail) VALUES (?, ?, ?, ?, ?, ?)",
		s.opts.Now().UnixMicro(), by.Who, by.Whence, action, object, detail)
	if err != nil {
		return err
	}
	id, err := res.LastInsertId()
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM decisions WHERE id <= ?", id-int64(s.opts.MaxDecisions))
	return err
}

// describe says in words what an exception is about.
func describe(e models.Exception) string {
	port := ""
	if e.Port != 0 {
		port = strconv.Itoa(int(e.Port))
	}
	var parts []string
	for _, f := range []struct{ name, value string }{
		{"host", e.Host},
		{"peer", e.Peer},
		{"port", port},
		{"proto", e.Proto},
		{"category", string(e.Category)},
		{"sensor", e.Sensor},
		{"expires", e.Expires.String()},
		{"reason", e.Reason},
	} {
		if f.value != "" {
			parts = append(parts, f.name+" "+f.value)
		}
	}
	return strings.Join(parts, ", ")
}

func describeChange(c models.ExceptionChange) string {
	var parts []string
	if c.Expires != nil {
		text := c.Expires.String()
		if text == "" {
			text = "never"
		}
		parts = append(parts, "expires "+text)
	}
	if c.Reason != nil {
		parts = append(parts, "reason "+*c.Reason)
	}
	return strings.Join(parts, ", ")
}

// Decisions reads a page of what people have decided, newest first.
func (s *Store) Decisions(ctx context.Context, q models.DecisionQuery) (models.Page[models.Decision], error) {
	var f filter
	f.equal("object", q.Object)
	return page[models.Decision](ctx, s, list{table: "decisions", filter: f},
		map[models.Sort]order{models.SortNewest: {keys: []string{"id"}}}, "", q.Limit, q.Cursor)
}
