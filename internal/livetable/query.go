package livetable

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"netlyra/internal/models"
)

// Query lists the connections of the table that match, newest first by ID or, sorted by bytes, the largest, with the total of all that match. The
// error wraps models.ErrBadQuery.
func (t *Table) Query(q models.ConnectionQuery) (models.Page[models.Connection], error) {
	page := models.Page[models.Connection]{Items: []models.Connection{}}
	below, err := q.Cursor.Live()
	if err != nil {
		return page, err
	}
	total := uint64(0)
	t.mu.Lock()
	for e := t.rows.Front(); e != nil; e = e.Next() {
		c := rowOf(e).conn
		if !matches(c, &q) {
			continue
		}
		total++
		if below == 0 || c.ID < below {
			page.Items = append(page.Items, *c)
		}
	}
	t.mu.Unlock()
	page.Total = &total
	slices.SortFunc(page.Items, func(a, b models.Connection) int {
		byBytes := 0
		if q.Sort == models.SortBytes {
			byBytes = cmp.Compare(b.BytesUp+b.BytesDown, a.BytesUp+a.BytesDown)
		}
		return cmp.Or(byBytes, cmp.Compare(b.ID, a.ID))
	})
	if limit := cmp.Or(q.Limit, models.DefaultPageLimit); len(page.Items) > limit {
		page.Items = page.Items[:limit]
		if q.Sort != models.SortBytes {
			page.Next = models.LiveCursor(page.Items[limit-1].ID)
		}
	}
	return page, nil
}

func matches(c *models.Connection, q *models.ConnectionQuery) bool {
	text := strings.ToLower(q.Text)
	holds := func(s string) bool { return strings.Contains(strings.ToLower(s), text) }
	return (!q.Host.IsValid() || within(q.Host, c.SrcIP) || within(q.Host, c.DstIP)) &&
		(q.Port == 0 || c.SrcPort == q.Port || c.DstPort == q.Port) &&
		(q.Proto == "" || c.Proto == q.Proto) &&
		(q.From == 0 || c.LastTS >= q.From) && (q.To == 0 || c.FirstTS < q.To) &&
		c.Score >= q.MinScore &&
		(len(q.States) == 0 || slices.Contains(q.States, c.State)) &&
		(q.Sensor == "" || c.Sensor == q.Sensor) &&
		(q.CommunityID == "" || c.CommunityID == q.CommunityID) &&
		(q.Alert == "" || c.Alert == q.Alert) &&
		(text == "" || holds(c.SNI) || holds(c.SrcIP) || holds(c.DstIP))
}

func within(p netip.Prefix, address string) bool {
	a, err := netip.ParseAddr(address)
	return err == nil && p.Contains(a)
}
