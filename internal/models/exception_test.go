package models

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExceptionsAreNormalized(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   Exception
		want Exception
		bad  string // the field at fault
	}{
		{name: "address", in: Exception{Host: "192.0.2.7"}, want: Exception{Host: "192.0.2.7"}},
		{name: "prefix of one address", in: Exception{Peer: "2001:DB8:0::7/128"}, want: Exception{Peer: "2001:db8::7"}},
		{name: "bits that a prefix does not use", in: Exception{Host: "192.0.2.7/24"}, want: Exception{Host: "192.0.2.0/24"}},
		{name: "mapped address", in: Exception{Host: "::ffff:192.0.2.7"}, want: Exception{Host: "192.0.2.7"}},
		{name: "mapped prefix", in: Exception{Host: "::ffff:192.0.2.0/120"}, want: Exception{Host: "192.0.2.0/24"}},
		{name: "protocol", in: Exception{Port: 53, Proto: "17"}, want: Exception{Port: 53, Proto: "UDP"}},
		{name: "reason", in: Exception{Category: CategoryBeacon, Reason: "  the probe\t"}, want: Exception{Category: CategoryBeacon, Reason: "the probe"}},
		{name: "nothing", bad: "host"},
		{name: "protocol and sensor alone", in: Exception{Proto: "TCP", Sensor: "s1"}, bad: "host"},
		{name: "name", in: Exception{Host: "printer.example"}, bad: "host"},
		{name: "zone", in: Exception{Peer: "fe80::1%eth0"}, bad: "peer"},
		{name: "prefix too long", in: Exception{Host: "192.0.2.0/33"}, bad: "host"},
		{name: "every address", in: Exception{Host: "192.0.2.7/0"}, bad: "host"},
		{name: "unknown protocol", in: Exception{Port: 1, Proto: "TPC"}, bad: "proto"},
		{name: "unknown category", in: Exception{Category: "scan"}, bad: "category"},
		{name: "long sensor", in: Exception{Port: 1, Sensor: strings.Repeat("s", 65)}, bad: "sensor"},
		{name: "before all time", in: Exception{Port: 1, Expires: -1}, bad: "expires"},
		{name: "blank reason", in: Exception{Port: 1, Reason: " "}, bad: "reason"},
		{name: "long reason", in: Exception{Port: 1, Reason: strings.Repeat("é", MaxExceptionReason+1)}, bad: "reason"},
		{name: "two lines", in: Exception{Port: 1, Reason: "a\nb"}, bad: "reason"},
		{name: "terminal escape", in: Exception{Port: 1, Reason: "a\x1b[31m"}, bad: "reason"},
		{name: "not UTF-8", in: Exception{Port: 1, Reason: "a\xff"}, bad: "reason"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := tt.in
			if e.Reason == "" && tt.bad != "reason" {
				e.Reason, tt.want.Reason = "r", "r"
			}
			err := e.Normalize()
			if err == nil {
				err = NormalizeReason(&e.Reason)
			}
			var field *FieldError
			if tt.bad != "" {
				if !errors.As(err, &field) || field.Field != tt.bad || !strings.HasPrefix(err.Error(), tt.bad+": ") {
					t.Fatalf("%v, want a mistake in %s", err, tt.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, e); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Every field that is wrong is known at once; Normalize reports the first.
func TestEveryWrongField(t *testing.T) {
	e := Exception{Host: "bad", Peer: "0.0.0.0/0", Proto: "FOO", Category: "flod", Sensor: "a\xff", Expires: -1}
	problems := e.NormalizeAll()
	var fields []string
	for _, p := range problems {
		fields = append(fields, p.Field)
	}
	if diff := cmp.Diff([]string{"host", "peer", "proto", "category", "sensor", "expires"}, fields); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := e.Normalize(); err == nil || err.Error() != problems[0].Error() {
		t.Errorf("Normalize: %v", err)
	}
}
