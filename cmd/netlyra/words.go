package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"netlyra/internal/models"
)

// localTime is how the texts for people write a time: that of this machine, with its zone.
const localTime = "2006-01-02 15:04:05 MST"

// writeAlert says in words what an alert is about, when it was, why it was raised and what would not have raised it.
func writeAlert(w io.Writer, a *models.Alert) error {
	var b strings.Builder
	lasted := "at once"
	if span := time.Duration(a.LastTS-a.TS) * time.Microsecond; span >= 100*time.Millisecond {
		lasted = "for " + lengthOfTime(span)
	}
	fmt.Fprintf(&b, "%s  %s  %s, %s, score %.2f\n  %s\n", a.TS.Time().Local().Format(localTime), a.Severity, a.Category.Words(), lasted, a.Score, plain(a.Summary))
	without := 0
	for i := range a.Reasons {
		if a.Reasons[i].Contribution < 0.005 {
			without++
			continue
		}
		fmt.Fprintf(&b, "  because  %s; %.0f %% of the score\n", because(&a.Reasons[i]), 100*a.Reasons[i].Contribution)
	}
	switch without {
	case 0:
	case 1:
		b.WriteString("           1 more measured, which adds nothing to the score\n")
	default:
		fmt.Fprintf(&b, "           %d more measured, which add nothing to the score\n", without)
	}
	if a.Counterfactual != "" {
		fmt.Fprintf(&b, "  %s\n", plain(a.Counterfactual))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// because says what was measured, and beside what.
func because(r *models.Reason) string {
	what := strings.ReplaceAll(r.Feature, "_", " ")
	for _, n := range models.FeatureNames() {
		if n.Name == r.Feature {
			what, _, _ = strings.Cut(n.Meaning, ",") // behind the comma are remarks for readers of the list
		}
	}
	value := quantity(r.Value, r.Unit)
	if strings.Contains(what, r.Unit) { // what is counted has been said
		value = quantity(r.Value, measure(r.Unit))
	}
	return fmt.Sprintf("%s: %s (%s)", what, value, beside(r, measure(r.Unit)))
}

// measure is the unit if it is one of measure; that of a count may be left out once it is known what is counted.
func measure(unit string) string {
	switch unit {
	case "bytes", "bytes/s", "s", "bit/byte":
		return unit
	}
	return ""
}

// beside is what the value of a reason is held against: a limit, or what is usual.
func beside(r *models.Reason, unit string) string {
	crossed, over := r.Expected.High, r.Value > r.Expected.High
	if r.Value < r.Expected.Low {
		crossed = r.Expected.Low
	}
	times := ""
	if over && crossed > 0 && r.Value >= 2*crossed {
		times = fmt.Sprintf("; %.0f times as much", r.Value/crossed)
	}
	switch r.Basis {
	case models.BasisHost:
		return fmt.Sprintf("usually %s for this host%s", between(r.Expected, unit), times)
	case models.BasisNetwork:
		return fmt.Sprintf("usually %s in this network%s", between(r.Expected, unit), times)
	case models.BasisLimit:
	}
	return fmt.Sprintf("limit %s%s", quantity(crossed, unit), strings.Replace(times, "as much", "the limit", 1))
}

// between is a range; what is nothing needs no unit.
func between(r models.Range, unit string) string {
	low := "0"
	if r.Low != 0 {
		low = quantity(r.Low, unit)
	}
	return low + " to " + quantity(r.High, unit)
}

// counted is a number of things, with the word for one or for several.
func counted[N int | uint64](n N, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(int64(n)) + " " + several
}

// quantity is a number with its unit.
func quantity(v float64, unit string) string {
	switch unit {
	case "":
		return number(v)
	case "bytes":
		return humanize.Bytes(uint64(max(v, 0)))
	case "bytes/s":
		return humanize.Bytes(uint64(max(v, 0))) + "/s"
	}
	return number(v) + " " + unit
}

// number has three significant digits, and all of those before the point.
func number(v float64) string {
	if v == math.Trunc(v) || math.Abs(v) >= 100 {
		return humanize.Comma(int64(math.Round(v)))
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// lengthOfTime is a span in the two largest of its units: 3 days 4 h, 5 min 20 s, 3.3 s.
func lengthOfTime(d time.Duration) string {
	const day = 24 * time.Hour
	two := func(a time.Duration, first string, b time.Duration, second string) string {
		text := fmt.Sprintf("%d %s", d/a, first)
		if rest := d % a / b; rest > 0 {
			text += fmt.Sprintf(" %d %s", rest, second)
		}
		return text
	}
	switch {
	case d >= 2*day:
		return two(day, "days", time.Hour, "h")
	case d >= time.Hour:
		return two(time.Hour, "h", time.Minute, "min")
	case d >= time.Minute:
		return two(time.Minute, "min", time.Second, "s")
	case d >= 10*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
