package api

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"netlyra/internal/models"

	"github.com/gin-gonic/gin"
)

// listing answers with a page of the store: read reads the parameters, ask asks. Both work on the query that read gives.
func listing[Q, T any](s *Server, c *gin.Context, list string, read func(raw string) (Q, error),
	cursorOf func(*Q) *models.Cursor, limitOf func(*Q) *int, ask func(context.Context, Q) (models.Page[T], error),
) {
	q, err := read(c.Request.URL.RawQuery)
	if err != nil {
		s.abort(c, err)
		return
	}
	plain := q
	*cursorOf(&plain), *limitOf(&plain) = "", 0
	bound := bind(list, plain)
	if *cursorOf(&q), err = taken(bound, *cursorOf(&q)); err != nil {
		s.abort(c, err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), storeTime)
	defer cancel()
	page, err := ask(ctx, q)
	if err != nil {
		s.abort(c, err)
		return
	}
	page.Next = give(bound, page.Next)
	writePage(c, page)
}

func (s *Server) listAlerts(c *gin.Context) {
	type Q = models.AlertQuery
	listing(s, c, "alerts", parseAlertQuery, func(q *Q) *models.Cursor { return &q.Cursor }, func(q *Q) *int { return &q.Limit }, s.opts.Store.Alerts)
}

// connectionRow is a connection with its id as text: it is a 63-bit number, which JavaScript would round.
type connectionRow struct {
	ID string `json:"id"`
	models.Connection
}

func (s *Server) listConnections(c *gin.Context) {
	type Q = connectionQuery
	listing(s, c, "connections", parseConnectionQuery, func(q *Q) *models.Cursor { return &q.Cursor }, func(q *Q) *int { return &q.Limit }, s.connections)
}

// connections come from the database, or from the table of those that are open now.
func (s *Server) connections(ctx context.Context, q connectionQuery) (models.Page[connectionRow], error) {
	ask := s.opts.Store.Connections
	if q.live {
		ask = s.opts.Live.LiveConnections
	}
	page, err := ask(ctx, q.ConnectionQuery)
	rows := make([]connectionRow, len(page.Items))
	for i, conn := range page.Items {
		rows[i] = connectionRow{strconv.FormatInt(conn.ID, 10), conn}
	}
	return models.Page[connectionRow]{Items: rows, Next: page.Next, Total: page.Total}, err
}

func (s *Server) listHosts(c *gin.Context) {
	type Q = models.HostQuery
	listing(s, c, "hosts", parseHostQuery, func(q *Q) *models.Cursor { return &q.Cursor }, func(q *Q) *int { return &q.Limit }, s.opts.Store.Hosts)
}

func (s *Server) getHost(c *gin.Context) {
	sensor := ""
	if err := parseQuery(c.Request.URL.RawQuery, map[string]setter{"sensor": text(&sensor)}); err != nil {
		s.abort(c, err)
		return
	}
	ip, err := netip.ParseAddr(c.Param("ip"))
	if err != nil || ip.Zone() != "" {
		s.abort(c, fail(codeNotFound, quote(c.Param("ip"))+" is no address: use one such as 192.0.2.7 or 2001:db8::7"))
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), storeTime)
	defer cancel()
	h, err := s.opts.Store.Host(ctx, ip.Unmap().String(), sensor)
	s.answer(c, http.StatusOK, h, err)
}

func (s *Server) listDecisions(c *gin.Context) {
	type Q = models.DecisionQuery
	listing(s, c, "decisions", parseDecisionQuery, func(q *Q) *models.Cursor { return &q.Cursor }, func(q *Q) *int { return &q.Limit }, s.decisions)
}

// decisionRow is a decision with its id as text, as connections have it.
type decisionRow struct {
	ID string `json:"id"`
	models.Decision
}

func (s *Server) decisions(ctx context.Context, q models.DecisionQuery) (models.Page[decisionRow], error) {
	page, err := s.opts.Store.Decisions(ctx, q)
	rows := make([]decisionRow, len(page.Items))
	for i, d := range page.Items {
		rows[i] = decisionRow{strconv.FormatInt(d.ID, 10), d}
	}
	return models.Page[decisionRow]{Items: rows, Next: page.Next, Total: page.Total}, err
}

// The bounds of a series.
const (
	maxSeries     = 11_000 // points: a week of minutes
	defaultSeries = 60     // points, where from is not given
)

// series is traffic by step, one array a number; null is a gap: nobody watched.
type series struct {
	Step        int64         `json:"step"` // seconds
	From        models.Micros `json:"from"` // of the first step
	To          models.Micros `json:"to"`   // end of the last
	Packets     []*uint64     `json:"packets"`
	Bytes       []*uint64     `json:"bytes"`
	TCPBytes    []*uint64     `json:"tcp_bytes"`
	UDPBytes    []*uint64     `json:"udp_bytes"`
	OtherBytes  []*uint64     `json:"other_bytes"`
	Connections []*uint64     `json:"connections"`
	Drops       []*uint64     `json:"drops"`
}

func newSeries(q models.SeriesQuery, points []models.SeriesPoint) series {
	n := (q.To - q.From) / q.Step
	column := func(of func(*models.SeriesPoint) *uint64) []*uint64 {
		all := make([]*uint64, n)
		for i := range points {
			if at := (points[i].TS - q.From) / q.Step; points[i].TS >= q.From && at < n {
				all[at] = of(&points[i])
			}
		}
		return all
	}
	type P = *models.SeriesPoint
	return series{
		Step: q.Step, From: models.Micros(q.From * 1e6), To: models.Micros(q.To * 1e6),
		Packets:     column(func(p P) *uint64 { return &p.Packets }),
		Bytes:       column(func(p P) *uint64 { return &p.Bytes }),
		TCPBytes:    column(func(p P) *uint64 { return &p.TCPBytes }),
		UDPBytes:    column(func(p P) *uint64 { return &p.UDPBytes }),
		OtherBytes:  column(func(p P) *uint64 { return &p.OtherBytes }),
		Connections: column(func(p P) *uint64 { return &p.Connections }),
		Drops:       column(func(p P) *uint64 { return &p.Drops }),
	}
}

func (s *Server) getSeries(c *gin.Context) {
	q, err := parseSeriesQuery(c.Request.URL.RawQuery, time.Now())
	if err != nil {
		s.abort(c, err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), storeTime)
	defer cancel()
	points, err := s.opts.Store.Series(ctx, q)
	if err != nil {
		s.abort(c, err)
		return
	}
	writeJSON(c.Writer, http.StatusOK, newSeries(q, points))
}

// parseSeriesQuery widens from and to to whole steps.
func parseSeriesQuery(raw string, now time.Time) (models.SeriesQuery, error) {
	q := models.SeriesQuery{Step: 60}
	var from, to models.Micros
	err := parseQuery(raw, map[string]setter{"from": instant(&from), "to": instant(&to), "step": seriesStep(&q.Step), "sensor": text(&q.Sensor)})
	if err = errorOr(err, from, to); err != nil {
		return q, err
	}
	if to == 0 {
		to = models.Micros(now.UnixMicro())
	}
	q.To = (int64(to)/1e6 + q.Step) / q.Step * q.Step
	if int64(to)%(q.Step*1e6) == 0 {
		q.To = int64(to) / 1e6
	}
	q.From = max(0, q.To-defaultSeries*q.Step)
	if from != 0 {
		q.From = int64(from) / 1e6 / q.Step * q.Step
	}
	if n := (q.To - q.From) / q.Step; n > maxSeries || n < 0 {
		return q, failField(codeBadParameter, "step", fmt.Sprintf("step: %d s make %d points of that time: use a longer step (10, 60, 3600) or a shorter time; "+
			"%d points are the most", q.Step, n, maxSeries))
	}
	return q, nil
}

func seriesStep(into *int64) setter {
	return func(v string) error {
		switch v {
		case "1", "10", "60", "3600":
			*into, _ = strconv.ParseInt(v, 10, 64) // one of these
			return nil
		}
		return fmt.Errorf("use 1, 10, 60 or 3600 (seconds)")
	}
}
