package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"netlyra/internal/detect"
	"netlyra/internal/flow"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
	"netlyra/internal/role"
	"netlyra/internal/traffic"
)

// DetectOptions say what the detector is shown.
type DetectOptions struct {
	Families []string      // see OfficeOptions; none means all
	Seed     uint64        // the first
	Seeds    int           // offices, and parameters, per family; 0 means 3
	Learn    time.Duration // of an office without incident before the family; 0 means 20 minutes
	Hosts    int           // of the office; 0 means 25
	Budget   float64       // alerts a day; 0 means the detector's default
	Without  []string      // parts of the detector to leave out
	Jobs     int           // runs at the same time; 0 means 1
}

// DetectRow is how the detector did on one family.
type DetectRow struct {
	Family       string         `json:"family"`
	Attack       bool           `json:"attack"`
	HeldOut      bool           `json:"held_out"`
	Runs         int            `json:"runs"`
	Detected     int            `json:"detected"`      // runs with an alert on it; of a look-alike every one is a false alert
	Right        int            `json:"right"`         // runs in which the first alert on it had a right category
	DelaySeconds float64        `json:"delay_seconds"` // from the first packet to the first alert: the median of the runs with one
	Alerts       int            `json:"alerts"`        // on it, in all runs
	MostAlerts   int            `json:"most_alerts"`   // in one run
	Categories   map[string]int `json:"categories"`    // of the alerts on it
	False        int            `json:"false_alerts"`  // beside it: in the time of learning, and on others
	FalseKinds   map[string]int `json:"false_categories"`
	Hours        float64        `json:"hours"` // of capture
}

// show is one office with one family in it.
type show struct {
	family traffic.Family
	seed   uint64
}

// verdict is how one run went.
type verdict struct {
	on    []models.Alert // in the order of their times
	other []models.Alert
	delay float64
	hours float64
}

// grace is how long before an attack's first packet, and after its last, an alert may come that counts as one on it.
const (
	graceBefore = time.Second
	graceAfter  = time.Minute
)

// timeOfDay is how much later the offices of one seed are than those of the one before: at nine, half past eleven, two, half past four.
const timeOfDay = 150 * time.Minute

// Detect plays every family to the detector, each in offices of its own after a time of learning, and returns a row for each. done is
// told of every run that has ended; nil is nobody.
func Detect(ctx context.Context, o DetectOptions, done func(i, of int)) ([]DetectRow, error) {
	o.Seeds, o.Jobs, o.Learn = cmp.Or(o.Seeds, 3), cmp.Or(o.Jobs, 1), cmp.Or(o.Learn, 20*time.Minute)
	if len(o.Families) == 0 {
		o.Families = []string{"all"}
	}
	names, err := familyNames(o.Families)
	if err != nil {
		return nil, err
	}
	var runs []show
	for _, f := range traffic.Families() {
		for i := range o.Seeds {
			if slices.Contains(names, f.Name) {
				runs = append(runs, show{f, o.Seed + uint64(i)})
			}
		}
	}
	verdicts := make([]verdict, len(runs))
	errs := make([]error, len(runs))
	var (
		wg    sync.WaitGroup
		lock  sync.Mutex
		ended int
	)
	slots := make(chan struct{}, o.Jobs)
	for i, r := range runs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			verdicts[i], errs[i] = r.watch(ctx, &o)
			lock.Lock()
			defer lock.Unlock()
			if ended++; done != nil {
				done(ended, len(runs))
			}
		})
	}
	wg.Wait()
	return rows(runs, verdicts), errors.Join(append(errs, ctx.Err())...)
}

// watch has the detector watch one run.
func (r *show) watch(ctx context.Context, o *DetectOptions) (v verdict, err error) {
	length := o.Learn + r.family.Length + graceAfter + 5*time.Second
	s, err := traffic.New(traffic.Options{
		Seed: r.seed, Hosts: o.Hosts, Duration: length, Start: traffic.DefaultStart + int64(r.seed%4)*timeOfDay.Microseconds(),
		Plays: []traffic.Play{{Family: r.family.Name, At: o.Learn, Seed: r.seed}},
	})
	if err != nil {
		return v, err
	}
	alerts, _, err := judge(ctx, s, o.Budget, o.Without)
	if err != nil {
		return v, err
	}
	v.hours = length.Hours()
	labels := s.Labels()
	for _, a := range alerts {
		if len(labels) == 1 && on(&labels[0], &a) {
			v.on = append(v.on, a)
		} else {
			v.other = append(v.other, a)
		}
	}
	if len(v.on) > 0 {
		v.delay = float64(v.on[0].TS-labels[0].Start) / 1e6
	}
	return v, nil
}

// on says whether an alert is on what a label describes.
func on(l *traffic.Label, a *models.Alert) bool {
	return a.TS >= l.Start-models.Micros(graceBefore.Microseconds()) && a.TS <= l.End+models.Micros(graceAfter.Microseconds()) && named(l.Hosts, a)
}

// judge runs the pipeline over a stream as `analyze` does over a file: it returns the incidents in their final state, in order, and the
// statistics at the end.
func judge(ctx context.Context, s *traffic.Stream, budget float64, without []string) ([]models.Alert, models.Stats, error) {
	parts, err := detect.ParseParts(without)
	if err != nil {
		return nil, models.Stats{}, err
	}
	final := map[string]models.Alert{}
	d, err := newDetector(detect.Options{Seed: 1, BudgetDay: budget, Without: parts}, func(a *models.Alert) { final[a.ID] = *a })
	if err != nil {
		return nil, models.Stats{}, err
	}
	p, err := pipeline.New(pipeline.Options{Sensor: "bench", Sources: []pipeline.Source{&streamSource{Stream: s}}, Flow: flow.Options{Seed: 1}, Detector: d})
	if err != nil {
		return nil, models.Stats{}, err
	}
	if err := p.Run(ctx); err != nil {
		return nil, models.Stats{}, err
	}
	alerts := slices.SortedFunc(maps.Values(final), func(a, b models.Alert) int { return cmp.Or(cmp.Compare(a.TS, b.TS), cmp.Compare(a.ID, b.ID)) })
	stats := p.Stats()
	d.Fill(&stats)
	return alerts, stats, nil
}

// newDetector makes a detector that hands each revision of an alert to told.
func newDetector(o detect.Options, told func(a *models.Alert)) (*role.Detector, error) {
	return role.NewDetector(role.DetectorOptions{Sensor: "bench", Detect: o}, role.DetectorDeps{Alerts: func(_ context.Context, alerts []models.Alert) error {
		for i := range alerts {
			told(&alerts[i])
		}
		return nil
	}})
}

// rows adds the runs of each family up.
func rows(runs []show, verdicts []verdict) []DetectRow {
	var all []DetectRow
	var delays []float64
	for i := range runs {
		f := &runs[i].family
		if i == 0 || runs[i-1].family.Name != f.Name {
			all = append(all, DetectRow{Family: f.Name, Attack: f.Attack, HeldOut: f.HeldOut, Categories: map[string]int{}, FalseKinds: map[string]int{}})
			delays = nil
		}
		r := &all[len(all)-1]
		delays = r.add(f, &verdicts[i], delays)
	}
	return all
}

func (r *DetectRow) add(f *traffic.Family, v *verdict, delays []float64) []float64 {
	r.Runs++
	r.Hours += v.hours
	r.Alerts += len(v.on)
	r.MostAlerts = max(r.MostAlerts, len(v.on))
	r.False += len(v.other)
	for i := range v.on {
		r.Categories[string(v.on[i].Category)]++
	}
	for i := range v.other {
		r.FalseKinds[string(v.other[i].Category)]++
	}
	if len(v.on) == 0 {
		return delays
	}
	r.Detected++
	if slices.Contains(f.Categories, v.on[0].Category) {
		r.Right++
	}
	delays = append(delays, v.delay)
	slices.Sort(delays)
	r.DelaySeconds = delays[(len(delays)-1)/2]
	return delays
}

// PrintDetect writes rows as tables: attacks, attacks that were held out, look-alikes.
func PrintDetect(w io.Writer, rows []DetectRow) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	section := func(title string, in func(*DetectRow) bool) {
		var sum DetectRow
		_, _ = fmt.Fprintf(t, "%s\tfound\tright\tdelay\talerts\tmost\tcategories\tbeside\n", title)
		for i := range rows {
			r := &rows[i]
			if !in(r) {
				continue
			}
			sum.Runs, sum.Detected, sum.Right, sum.False, sum.Hours = sum.Runs+r.Runs, sum.Detected+r.Detected, sum.Right+r.Right, sum.False+r.False, sum.Hours+r.Hours
			sum.Alerts, sum.MostAlerts = sum.Alerts+r.Alerts, max(sum.MostAlerts, r.MostAlerts)
			delay := "-"
			if r.Detected > 0 {
				delay = fmt.Sprintf("%.1f s", r.DelaySeconds)
			}
			_, _ = fmt.Fprintf(t, "  %s\t%d/%d\t%d\t%s\t%d\t%d\t%s\t%s\n", r.Family, r.Detected, r.Runs, r.Right, delay, r.Alerts, r.MostAlerts,
				counts(r.Categories), counts(r.FalseKinds))
		}
		_, _ = fmt.Fprintf(t, "  all\t%d/%d\t%d\t\t%d\t%d\t\t%d in %.1f h\n\n", sum.Detected, sum.Runs, sum.Right, sum.Alerts, sum.MostAlerts, sum.False, sum.Hours)
	}
	section("attack", func(r *DetectRow) bool { return r.Attack && !r.HeldOut })
	section("held out", func(r *DetectRow) bool { return r.Attack && r.HeldOut })
	section("look-alike", func(r *DetectRow) bool { return !r.Attack })
	return t.Flush()
}

// counts writes a map as "flood 3, port_scan 1".
func counts(m map[string]int) string {
	var parts []string
	for _, k := range slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) }) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return cmp.Or(strings.Join(parts, ", "), "-")
}
