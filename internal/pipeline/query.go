package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"netlyra/internal/flow"
	"netlyra/internal/models"
)

// ask is a question about a part of the connections in a table, which only its worker can read.
type ask struct {
	from   uint32 // where the part begins
	keep   func(*flow.Record) bool
	into   []flow.Record // memory for the answer
	answer chan part
}

// part is the answer; next is where the next part begins, 0 after the last.
type part struct {
	records []flow.Record
	next    uint32
}

// maxAsks bounds the questions that wait for a worker.
const maxAsks = 8

// reply answers one question, if any waits, between two batches: more would have packets wait for as long as others ask.
func (w *worker) reply() {
	select {
	case a := <-w.asks:
		rs, next := w.table.Live(a.into, a.from, a.keep)
		a.answer <- part{rs, next}
	default:
	}
}

// Query lists the connections in the tables that match, newest first by ID or, sorted by bytes, the largest, with the total of all that
// match. Workers answer for a part of their table between two batches, so that packets wait some milliseconds at most and memory does not depend
// on how many connections there are; one that begins or ends in the meantime may be missing. Rates and incidents are not known here. A file that has ended has none. The error wraps models.ErrBadQuery for a cursor from elsewhere and for filters by what is known of stored
// connections only.
func (p *Pipeline) Query(ctx context.Context, q models.ConnectionQuery) (models.Page[models.Connection], error) {
	page := models.Page[models.Connection]{Items: []models.Connection{}}
	below, err := q.Cursor.Live()
	switch {
	case err != nil:
		return page, err
	case q.Alert != "" || q.MinScore > 0:
		return page, fmt.Errorf("pipeline: %w: alert and min_score select stored connections; leave them out, or live", models.ErrBadQuery)
	case q.Sensor != "" && q.Sensor != p.options.Sensor:
		total := uint64(0)
		page.Total = &total
		return page, nil
	}
	limit := cmp.Or(q.Limit, models.DefaultPageLimit)
	first := func(a, b *flow.Record) int { return cmp.Compare(b.ID, a.ID) }
	if q.Sort == models.SortBytes {
		first = func(a, b *flow.Record) int {
			return cmp.Or(cmp.Compare(b.Bytes[0]+b.Bytes[1], a.Bytes[0]+a.Bytes[1]), cmp.Compare(b.ID, a.ID))
		}
	}
	best := selection{room: limit, first: first}
	total := uint64(0)
	var memory []flow.Record
	for _, w := range p.workers {
		for from, more := uint32(0), true; more; {
			a := &ask{from: from, keep: func(r *flow.Record) bool { return p.matches(r, &q) }, into: memory[:0], answer: make(chan part, 1)}
			got, err := p.ask(ctx, w, a)
			if err != nil {
				return page, err
			}
			memory, from, more = got.records, got.next, got.next != 0
			for i := range got.records {
				r := &got.records[i]
				if !matchesText(r, &q) {
					continue
				}
				total++
				if below == 0 || r.ID < below {
					best.add(r)
				}
			}
		}
	}
	all, more := best.sorted()
	if more {
		if q.Sort != models.SortBytes {
			page.Next = models.LiveCursor(all[limit-1].ID)
		}
	}
	for i := range all {
		page.Items = append(page.Items, p.export.connection(&all[i]))
	}
	page.Total = &total
	return page, nil
}

// selection keeps the first of many records, in an order.
type selection struct {
	room    int
	first   func(a, b *flow.Record) int
	records []flow.Record // at most twice as many as there is room for
	more    bool          // some did not fit
}

func (s *selection) add(r *flow.Record) {
	if len(s.records) == 2*s.room {
		s.cut()
	}
	s.records = append(s.records, *r)
}

func (s *selection) cut() {
	slices.SortFunc(s.records, func(a, b flow.Record) int { return s.first(&a, &b) })
	if len(s.records) > s.room {
		s.records, s.more = s.records[:s.room], true
	}
}

// sorted gives the selection, and says whether there were more.
func (s *selection) sorted() ([]flow.Record, bool) {
	s.cut()
	return s.records, s.more
}

// ask puts a question to a worker and waits for the answer; there is none from one that has ended.
func (p *Pipeline) ask(ctx context.Context, w *worker, a *ask) (part, error) {
	select {
	case w.asks <- a:
	case <-w.ended:
		return part{}, nil
	case <-ctx.Done():
		return part{}, ctx.Err()
	}
	select {
	case got := <-a.answer:
		return got, nil
	case <-w.ended:
		return part{}, nil
	case <-ctx.Done():
		return part{}, ctx.Err()
	}
}

// matches applies the filters that cost next to nothing. The worker runs it.
func (p *Pipeline) matches(r *flow.Record, q *models.ConnectionQuery) bool {
	return (!q.Host.IsValid() || within(q.Host, r.Orig) || within(q.Host, r.Resp)) &&
		(q.Port == 0 || r.Proto.HasPorts() && (r.OrigPort == q.Port || r.RespPort == q.Port)) &&
		(q.Proto == "" || r.Proto.String() == q.Proto) &&
		(len(q.States) == 0 || slices.Contains(q.States, r.State.String())) &&
		(q.From == 0 || models.Micros(p.options.FileTime(r.Last)) >= q.From) &&
		(q.To == 0 || models.Micros(p.options.FileTime(r.First)) < q.To)
}

func within(p netip.Prefix, a models.Addr) bool { return p.Contains(a.Netip()) }

// matchesText applies those that need the texts of a connection. Who asks runs it.
func matchesText(r *flow.Record, q *models.ConnectionQuery) bool {
	if q.CommunityID != "" && flow.CommunityID(r.Orig, r.Resp, r.OrigPort, r.RespPort, r.Proto) != q.CommunityID {
		return false
	}
	if q.Text == "" {
		return true
	}
	text := strings.ToLower(q.Text)
	return strings.Contains(strings.ToLower(r.Hello.SNI), text) || strings.Contains(r.Orig.String(), text) || strings.Contains(r.Resp.String(), text)
}
