package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time that people write: 90s, 12h, 30d, 2w, 1d12h. A day has 24 hours, a week seven days.
type Duration time.Duration

const (
	day  = 24 * time.Hour
	week = 7 * day
)

var errDuration = errors.New("must be a length of time such as 90s, 12h, 30d or 2w")

// longUnits finds the numbers of days and weeks, which time.ParseDuration does not know.
var longUnits = regexp.MustCompile(`([0-9]+)([dw])`)

// ParseDuration reads a length of time. Units are those of time.ParseDuration, d and w; days and weeks are whole numbers. It may be
// negative. The error says how to write one.
func ParseDuration(text string) (Duration, error) {
	unsigned, negative := strings.CutPrefix(text, "-")
	var sum time.Duration
	rest := longUnits.ReplaceAllStringFunc(unsigned, func(part string) string {
		unit := day
		if strings.HasSuffix(part, "w") {
			unit = week
		}
		n, err := strconv.ParseInt(part[:len(part)-1], 10, 64)
		if err != nil || n > int64((1<<63-1-sum)/unit) {
			return part // which is no unit of time.ParseDuration
		}
		sum += time.Duration(n) * unit
		return ""
	})
	if rest != "" || unsigned == "" {
		short, err := time.ParseDuration(rest)
		if err != nil || short < 0 || short > 1<<63-1-sum {
			return 0, fmt.Errorf("%q %w", text, errDuration)
		}
		sum += short
	}
	if negative {
		sum = -sum
	}
	return Duration(sum), nil
}

// UnmarshalText reads what ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDuration(string(text))
	return err
}

// String writes it with days: 90d, 1d12h, 5m.
func (d Duration) String() string {
	t := time.Duration(d)
	if t < 0 {
		return "-" + (-d).String()
	}
	days, rest := t/day, t%day
	var text string
	if days > 0 {
		text = strconv.FormatInt(int64(days), 10) + "d"
	}
	if rest == 0 && days > 0 {
		return text
	}
	short := rest.String()
	if strings.HasSuffix(short, "m0s") {
		short = strings.TrimSuffix(short, "0s")
	}
	if strings.HasSuffix(short, "h0m") {
		short = strings.TrimSuffix(short, "0m")
	}
	return text + short
}
