package detect

import (
	"fmt"
	"strings"
	"testing"

	"netlyra/internal/models"
)

func TestWorms(t *testing.T) {
	first, second, third := addr("10.0.0.66"), hostN(210), hostN(220)
	const from = 1000
	// sweep has one try a port on hosts of the inside, itself left out, within ten seconds.
	sweep := func(s *script, at float64, source models.Addr, port uint16) {
		for i := range 200 {
			if target := hostN(200 + i); target != source {
				s.conn(at+float64(i)/20, attemptAt(source, target, port, false))
			}
		}
		s.until(at + 20)
	}
	checkRules(t, []rule{
		{"who was swept sweeps for the same", func(s *script) { sweep(s.learned(), from, first, 445); sweep(s, from+30, second, 445) }, "host_sweep worm"},
		{"an hour later", func(s *script) { sweep(s.learned(), from, first, 445); sweep(s, from+3600, second, 445) }, "host_sweep worm"},
		{"and then the next", func(s *script) {
			sweep(s.learned(), from, first, 445)
			sweep(s, from+30, second, 445)
			sweep(s, from+60, third, 445)
		}, "host_sweep worm worm"},
		{"for something else", func(s *script) { sweep(s.learned(), from, first, 445); sweep(s, from+30, second, 22) }, "host_sweep host_sweep"},
		{"somebody else", func(s *script) { sweep(s.learned(), from, first, 445); sweep(s, from+30, addr("10.0.0.67"), 445) }, "host_sweep host_sweep"},
		{"the same one again", func(s *script) { sweep(s.learned(), from, first, 445); sweep(s, from+600, first, 445) }, "host_sweep host_sweep"},
		{"two at once", func(s *script) {
			s.learned()
			for i := range 200 {
				for _, source := range []models.Addr{second, third} {
					if target := hostN(200 + i); target != source {
						s.conn(from+float64(i)/20, attemptAt(source, target, 445, false))
					}
				}
			}
		}, "host_sweep worm"},
		{"slowly, by what fails", func(s *script) {
			s.learned()
			for _, source := range []models.Addr{second, third} {
				for i := range 2 * probedHosts {
					if target := hostN(200 + i); target != source {
						s.conn(from+float64(source.Lo%256)*20+float64(i)*10, refused(source, target, 445))
					}
				}
			}
			s.until(from + 9000)
		}, "host_sweep worm"},
	})
}

// An incident is closed after a minute without evidence, or after what its kind holds; evidence later than that makes another.
func TestIncidentsCloseInTheirTime(t *testing.T) {
	client, server := addr("10.0.0.5"), addr("203.0.113.9")
	for _, tc := range []struct {
		name string
		hold float64 // seconds
		play func(s *script, at float64)
	}{
		{"a scan", 60, func(s *script, at float64) {
			for i := range 100 {
				s.conn(at+float64(i)/1000, attemptAt(client, hostN(300), uint16(1+i), false))
			}
		}},
		{"guesses", 300, func(s *script, at float64) {
			for i := range tries {
				s.conn(at+float64(i)/1000, page(client, hostN(300), 22, 500, 500))
			}
		}},
		{"an upload", uploadSeconds, func(s *script, at float64) { s.conn(at, page(client, server, 443, 9*uploadUsual, 500)) }},
		{"changed echoes", 120, func(s *script, at float64) {
			for i := range changedEchoes {
				s.conn(at+float64(i)/25, models.ConnSlot{
					Orig: client, Resp: server, Proto: models.ProtoICMP, ICMPType: 8, Through: true, Answered: true,
					Up: models.SlotDir{Packets: 1, Payload: 50, Bytes: 92}, Down: models.SlotDir{Packets: 1, Payload: 500, Bytes: 542},
				})
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScript(t)
			s.learned()
			const first = 1020 // a minute begins
			tc.play(s, first)
			s.until(first + tc.hold + 30)
			alerts, j := s.play(1, 1)
			closed := alerts[len(alerts)-1]
			if after := float64(int64(closed.LastTS)-scriptDay)/secondMicros - first; closed.State != models.AlertClosed || after > 1 {
				t.Fatalf("%s, the last evidence %v s after the first: %s", closed.State, after, closed.Summary)
			}
			if len(j.incidents) > 0 {
				t.Errorf("%d incidents are open", len(j.incidents))
			}
			for _, pause := range []struct {
				seconds float64
				want    int
			}{{tc.hold - 10, 1}, {tc.hold + 10, 2}} {
				s := newScript(t)
				s.learned()
				tc.play(s, first)
				switch tc.name {
				case "an upload": // as much again is no news
					s.conn(first+pause.seconds, page(client, server, 443, 40*uploadUsual, 500))
				default:
					tc.play(s, first+pause.seconds)
				}
				alerts, _ := s.play(1, 1)
				if got := len(final(alerts)); got != pause.want {
					t.Errorf("again after %v s: %d incidents, want %d", pause.seconds, got, pause.want)
				}
			}
		})
	}
}

// So many incidents at the same time are not opened one by one: the others are one incident, which counts them, and those that are open go on.
func TestIncidentsHaveACap(t *testing.T) {
	s := newScript(t)
	s.options.MaxEntities = 4 * 64 // a quarter of the entities may be in one
	s.work(0, 100)
	for i := range 100 {
		for p := range 80 {
			s.conn(200+float64(p)/100, attemptAt(addr(fmt.Sprintf("203.0.%d.9", i)), hostN(i%20), uint16(1+p), false))
		}
	}
	alerts, j := s.play(1, 1)
	ended := final(alerts)
	if got := len(ended); got != 64+1 || j.Stats().CapsHit["incidents"] == 0 {
		t.Errorf("%d incidents, caps hit %v", got, j.Stats().CapsHit)
	}
	var rest models.Alert
	for _, a := range ended {
		if strings.Contains(a.Summary, "more sources") {
			rest = a
		}
	}
	if rest.Peers.Total != 100-64 || rest.Role != models.PeersAreSources || rest.Category != models.CategoryPortScan || rest.State != models.AlertClosed ||
		!strings.HasPrefix(rest.Summary, "At least 36 more sources were over the limit for port scan") {
		t.Errorf("what found no place is reported as %+v", rest)
	}
	again, _ := s.play(4, 3)
	if len(again) != len(alerts) {
		t.Errorf("%d revisions, with four workers %d", len(alerts), len(again))
	}
}

// A connection that has completed its handshake is part of no flood of those that do not get through, though it comes to the same port at the
// same time, and one of the same source may be among them.
func TestCompletedConnectionsAreInNoFlood(t *testing.T) {
	s, victim := newScript(t), addr("10.0.0.77")
	s.learned()
	for i := range 3 * DefaultLimits().FloodHalfOpen {
		s.conn(1000+float64(i)/100, attemptAt(spoofed(i), victim, 80, false))
	}
	s.until(1030)
	var in, completed int
	s.look = func(j *Judge) {
		if id, _ := j.IncidentOf(spoofed(400), victim, 80, models.ProtoTCP, false); id != "" {
			in++
		}
		if id, _ := j.IncidentOf(spoofed(400), victim, 80, models.ProtoTCP, true); id != "" {
			completed++
		}
	}
	s.play(1, 1)
	if in == 0 || completed > 0 {
		t.Errorf("an attempt is in the flood in %d slots, a completed connection in %d", in, completed)
	}
}

func TestScores(t *testing.T) {
	for _, tc := range []struct{ value, limit, want float64 }{
		{100, 100, 0.81}, {101, 100, 0.81}, {200, 100, 0.9}, {1000, 100, 0.98}, {1e12, 1, 1}, {50, 100, 0.81},
	} {
		if got := limitScore(tc.value, tc.limit); got != tc.want {
			t.Errorf("%v of %v scores %v, want %v", tc.value, tc.limit, got, tc.want)
		}
	}
	for score, want := range map[float64]models.Severity{0.81: models.SeverityMedium, 0.8499: models.SeverityMedium, 0.85: models.SeverityHigh, 0.9499: models.SeverityHigh, 0.95: models.SeverityCritical, 1: models.SeverityCritical} {
		if got := severityOf(models.CategoryFlood, score); got != want {
			t.Errorf("%v is %s, want %s", score, got, want)
		}
	}
}

// Spoofed scanners do not hide a real scan: one that is worth more takes the place of one that is worth least.
func TestSpoofedScannersDoNotHideAScan(t *testing.T) {
	for _, source := range []string{"198.51.100.77", "10.0.9.9"} {
		s := newScript(t)
		s.options.MaxEntities = 4 * 64
		s.work(0, 100)
		for round := range 4 {
			at := 200 + 40*float64(round)
			for i := range 100 {
				for p := range 80 {
					s.conn(at+float64(p)/100, attemptAt(addr(fmt.Sprintf("203.0.%d.9", i)), hostN(i%20), uint16(1+p), false))
				}
			}
		}
		for p := range 600 {
			s.conn(300+float64(p)/100, attemptAt(addr(source), hostN(1), uint16(1000+p), false))
		}
		alerts, _ := s.play(1, 1)
		found := false
		for _, a := range final(alerts) {
			found = found || a.SrcIP == source && a.Category == models.CategoryPortScan && a.Ports.Total > 300
		}
		if !found {
			t.Errorf("the scan of 600 ports by %s is hidden by 100 spoofed scanners of 80", source)
		}
	}
}

// What was lost before an incident crossed its limit counts against its confidence, as what is lost afterwards does; what was lost
// long before does not.
func TestConfidenceCoversTheTimeBeforeTheLimit(t *testing.T) {
	const lost = 975 // of a thousand
	for _, tc := range []struct {
		name string
		at   int // slot of the losses: those of the scan begin at slot 2500
		want float64
	}{{"long before", 1000, 1}, {"while it began", 2495, 0.5}, {"while it went on", 2550, 0.5}} {
		j, err := NewJudge(Options{MaxEntities: 1024})
		if err != nil {
			t.Fatal(err)
		}
		received, gone := uint64(0), uint64(0)
		confidence := -1.0
		for n := range 2700 {
			var acc Accumulator
			acc.Reset()
			slots := []models.ConnSlot{attemptAt(hostN(1), hostN(2), 443, true)}
			if n >= 2500 && n < 2600 {
				for i := range 10 {
					slots = append(slots, attemptAt(addr("10.0.9.9"), hostN(3), uint16(10*n+i), false))
				}
			}
			for i := range slots {
				at(&slots[i], firstSlot+int64(n))
			}
			acc.Add(slots)
			received += uint64(len(slots))
			if n >= tc.at && n < tc.at+40 {
				gone += 25 * lost / 40
			}
			for _, a := range j.Slot(firstSlot+int64(n), []*Accumulator{&acc}, received, gone) {
				if a.Category == models.CategoryPortScan {
					confidence = a.CaptureConfidence
				}
			}
		}
		if tc.want == 1 && confidence != 1 || tc.want < 1 && (confidence < 0 || confidence > 0.2) {
			t.Errorf("%s: the confidence of the scan is %v", tc.name, confidence)
		}
	}
}
