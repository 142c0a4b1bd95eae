package api

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"netlyra/internal/models"
)

// liveCursorFormat holds the id of a page's last connection; the word tells it from the store's cursors.
const liveCursorFormat = "live %d"

func liveCursor(id int64) models.Cursor {
	return models.Cursor(base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, liveCursorFormat, id)))
}

func readLiveCursor(c models.Cursor) (int64, error) {
	b, err := base64.RawURLEncoding.DecodeString(string(c))
	if err != nil {
		return 0, fmt.Errorf("%w: live cursor: %w", models.ErrBadQuery, err)
	}
	var id int64
	if _, err := fmt.Sscanf(string(b), liveCursorFormat, &id); err != nil || liveCursor(id) != c {
		return 0, fmt.Errorf("%w: not a live cursor", models.ErrBadQuery)
	}
	return id, nil
}

// selectLive answers a query from the connections in the table, newest first by ID as the store does. A connection that rests or
// moves between two pages comes exactly once, as its ID does not change. Sorted by bytes there is one page, the largest.
func selectLive(all []models.Connection, q models.ConnectionQuery) (models.Page[models.Connection], error) {
	var page models.Page[models.Connection]
	below := int64(0)
	if q.Cursor != "" {
		var err error
		if below, err = readLiveCursor(q.Cursor); err != nil {
			return page, err
		}
	}
	var hits []*models.Connection
	total := uint64(0)
	for i := range all {
		if c := &all[i]; matches(c, &q) {
			total++
			if q.Cursor == "" || c.ID < below {
				hits = append(hits, c)
			}
		}
	}
	page.Total = &total
	byBytes := q.Sort == models.SortBytes
	slices.SortFunc(hits, func(a, b *models.Connection) int {
		if byBytes {
			return cmp.Or(cmp.Compare(b.BytesUp+b.BytesDown, a.BytesUp+a.BytesDown), cmp.Compare(b.ID, a.ID))
		}
		return cmp.Compare(b.ID, a.ID)
	})
	if len(hits) > q.Limit {
		hits = hits[:q.Limit]
		if !byBytes {
			page.Next = liveCursor(hits[q.Limit-1].ID)
		}
	}
	for _, c := range hits {
		page.Items = append(page.Items, *c)
	}
	return page, nil
}

// within says whether an address, as text, lies in a prefix.
func within(p netip.Prefix, address string) bool {
	a, err := netip.ParseAddr(address)
	return err == nil && p.Contains(a)
}

// matches is a ConnectionQuery's filters, as the store applies them in SQL.
func matches(c *models.Connection, q *models.ConnectionQuery) bool {
	return (!q.Host.IsValid() || within(q.Host, c.SrcIP) || within(q.Host, c.DstIP)) &&
		(q.Port == 0 || c.SrcPort == q.Port || c.DstPort == q.Port) &&
		(q.Proto == "" || c.Proto == q.Proto) &&
		(len(q.States) == 0 || slices.Contains(q.States, c.State)) &&
		(q.From == 0 || c.LastTS >= q.From) &&
		(q.To == 0 || c.FirstTS < q.To) &&
		(q.Sensor == "" || c.Sensor == q.Sensor) &&
		(q.CommunityID == "" || c.CommunityID == q.CommunityID) &&
		(q.Alert == "" || c.Alert == q.Alert) &&
		(q.Text == "" || holds(c.SNI, q.Text) || holds(c.SrcIP, q.Text) || holds(c.DstIP, q.Text)) &&
		c.Score >= q.MinScore
}

// holds says whether a part of s is part, whatever the letter case.
func holds(s, part string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(part)) }
