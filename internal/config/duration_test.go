package config

import (
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30d": 30 * day, "2w": 14 * day, "1w2d3h": 9*day + 3*time.Hour, "1d12h30m": 36*time.Hour + 30*time.Minute, "90s": 90 * time.Second, "1.5h": 90 * time.Minute,
		"0": 0, "-1h": -time.Hour, "-2d": -2 * day, "106751d": 106751 * day, "12h1d": 36 * time.Hour,
	} {
		if got, err := ParseDuration(text); err != nil || time.Duration(got) != want {
			t.Errorf("%s: %v, %v, want %v", text, time.Duration(got), err, want)
		}
	}
	for _, text := range []string{"", "-", "d", "1.5d", "1", "1y", "soon", "106752d", "99999999999999999999d", "106751d24h", "1d-1h", "--1d", "1d ", " 1d"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
	for d, want := range map[time.Duration]string{
		90 * day: "90d", 36 * time.Hour: "1d12h", 5 * time.Minute: "5m", time.Hour: "1h", 90 * time.Second: "1m30s", 0: "0s", -time.Hour: "-1h", 25*time.Hour + time.Second: "1d1h0m1s",
	} {
		text := Duration(d).String()
		if text != want {
			t.Errorf("%v is written as %s, want %s", d, text, want)
		}
		if back, err := ParseDuration(text); err != nil || time.Duration(back) != d {
			t.Errorf("%s is read again as %v, %v", text, back, err)
		}
	}
}
