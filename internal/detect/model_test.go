package detect

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"netlyra/internal/models"
)

// Welford's moments are those of the definition.
func TestMoments(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{0, 1, 2, 3, 1000} {
		var m moments
		var values []float64
		sum := 0.0
		for range n {
			v := 1e6 + 1000*rng.NormFloat64()
			values = append(values, v)
			sum += v
			m.add(v)
		}
		want := 0.0
		if n >= 2 {
			mean, squares := sum/float64(n), 0.0
			for _, v := range values {
				squares += (v - mean) * (v - mean)
			}
			want = math.Sqrt(squares/float64(n-1)) / mean
		}
		if got := m.cv(); math.Abs(got-want) > 1e-12 {
			t.Errorf("%d values: %v, want %v", n, got, want)
		}
	}
	var zeros moments
	zeros.add(0)
	zeros.add(0)
	if zeros.cv() != 0 {
		t.Error("zeros vary")
	}
}

// A host's own range follows its values, is not told before it is known, and stays within what a feature can be.
func TestOwnRange(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var o own
	for i := range 5000 {
		if _, _, ok := o.usual(packetRate); ok != (i >= ownAfter) {
			t.Fatalf("known after %d", i)
		}
		var v vector
		v[packetRate], v[entropy], v[failedShare] = 100+10*rng.NormFloat64(), 7.9, 0.5
		o.add(&v)
	}
	if low, high, _ := o.usual(packetRate); low < 50 || low > 80 || high < 120 || high > 150 { // the mean deviation of a normal is 0.8 of its standard one
		t.Errorf("packet rate %v to %v", low, high)
	}
	if low, high, _ := o.usual(entropy); low < 7.8 || high > 8 || low > high {
		t.Errorf("entropy %v to %v", low, high)
	}
	for range 3000 { // it becomes another host
		var v vector
		v[packetRate] = 10_000
		o.add(&v)
	}
	if low, high, _ := o.usual(packetRate); low > 10_000 || high < 9000 {
		t.Errorf("packet rate %v to %v", low, high)
	}
}

// The rarity of a value is what its distribution says, in bits.
func TestRarity(t *testing.T) {
	var u usual
	for i := range 1 << 16 {
		x := [numFeatures]float64{byteRate: float64(i%256) / 256, peers: 0.1}
		u.add(&x)
	}
	for _, tc := range []struct {
		f    feature
		x    float64
		bits float64
	}{
		{byteRate, 0, 0}, {byteRate, 0.5, 1}, {byteRate, 0.75, 2}, {byteRate, 255.0 / 256, 8}, {byteRate, 1, 8}, {peers, 0.1, 0}, {peers, 0.2, 16},
	} {
		if got := u.rarity(tc.f, tc.x); math.Abs(got-tc.bits) > 0.02 {
			t.Errorf("%v at %v: %v bits, want %v", tc.f.info().name, tc.x, got, tc.bits)
		}
	}
}

// oddHost plays an office for so long that something has been learned, with one host that later does what no limit knows, for minutes.
func oddHost(t *testing.T, without Part, minutes int, pulse int64) (alerts []models.Alert, j *Judge) {
	t.Helper()
	s := newScript(t)
	s.options.Without, s.options.BudgetDay, s.options.Window = without, 2000, 500
	s.pulse = pulse
	const begins = 2400
	rng := rand.New(rand.NewPCG(4, 1))
	end := begins + float64(60*minutes)
	for at := 1.0; at < end; at += 0.2 {
		client, server := hostN(rng.IntN(20)), addr([]string{"198.51.100.10", "198.51.101.10", "198.51.102.10", "198.51.103.10", "198.51.104.10", "198.51.105.10"}[rng.IntN(6)])
		s.conn(at, page(client, server, 443, uint64(100+rng.IntN(3000)), uint64(500+rng.IntN(100_000))))
	}
	for at := float64(begins); at < end; at++ {
		c := page(hostN(3), addr("198.51.100.10"), 443, 100, 100)
		c.New, c.Completed, c.Finished, c.Through, c.Start, c.OrigPort = false, false, false, true, micros(begins-10), 50_000
		c.TotalUp, c.TotalDown = 0, 0
		c.Up = models.SlotDir{Packets: 4000, Bytes: 6_000_000, EntropyN: 4000, EntropySum: 4000 * 79_900}
		s.conn(at, c)
	}
	return s.play(1, 1)
}

func anomaliesOf(alerts []models.Alert, host models.Addr) (found []models.Alert) {
	for _, a := range final(alerts) {
		if a.Category == models.CategoryAnomaly && a.SrcIP == host.String() {
			found = append(found, a)
		}
	}
	return found
}

// What goes on for longer than half an hour is the new normal: the incident says so, and it is counted.
func TestWhatGoesOnIsTheNewNormal(t *testing.T) {
	accepted := func(a *models.Alert) bool {
		fact := false
		for _, f := range a.Facts {
			fact = fact || f.Name == "accepted" && f.Text == "new normal"
		}
		if said := strings.HasSuffix(a.Summary, " It has gone on for so long that it counts as normal now."); said != fact {
			t.Errorf("said: %v, a fact: %v", said, fact)
		}
		return fact
	}
	alerts, j := oddHost(t, Absolute, acceptMicros/secondMicros/60+10, 1)
	found := anomaliesOf(alerts, hostN(3))
	if len(found) == 0 {
		t.Fatalf("nothing was found; %d alerts", len(alerts))
	}
	if releases := j.roles[Source].model.releases; !accepted(&found[0]) || releases == 0 || j.Stats().Releases < releases {
		t.Errorf("accepted %v, %d releases, %d in all: %s", accepted(&found[0]), releases, j.Stats().Releases, found[0].Summary)
	}
	for _, a := range alerts {
		if at := int64(a.LastTS - a.TS); a.ID == found[0].ID && accepted(&a) {
			if at < guardEpoch || at > acceptMicros+2*secondMicros { // the guard may give in before
				t.Errorf("accepted after %d s, want %d to %d", at/secondMicros, int64(guardEpoch/secondMicros), int64(acceptMicros/secondMicros))
			}
			break
		}
	}
	alerts, _ = oddHost(t, Absolute, 4, 1)
	if found = anomaliesOf(alerts, hostN(3)); len(found) != 1 || accepted(&found[0]) {
		t.Errorf("after four minutes: %d incidents", len(found))
	}
}

// A part that is left out says nothing and learns nothing; the others go on.
func TestPartsLeftOut(t *testing.T) {
	for _, tc := range []struct {
		name    string
		without Part
		found   bool
	}{
		{"limits", Absolute, true},
		{"limits and trees", Absolute | Trees, true},
		{"limits and tails", Absolute | Tails, true},
		{"limits and the guard", Absolute | Guard, true},
		{"all that is not in core", NotInCore, true},
		{"trees and tails", Trees | Tails, false},
	} {
		t.Run("without "+tc.name, func(t *testing.T) {
			alerts, j := oddHost(t, tc.without, 5, scriptSecond)
			if found := anomaliesOf(alerts, hostN(3)); (len(found) > 0) != tc.found {
				t.Errorf("%d anomalies, want some: %v", len(found), tc.found)
			}
			if tc.without&Guard != 0 && j.roles[Source].model.releases > 0 {
				t.Error("the guard gave in, which was left out")
			}
			if s := j.Stats(); tc.without&Absolute != 0 && s.LimitAlerts > 0 || tc.without&(Trees|Tails) == Trees|Tails && s.LearnedAlerts > 0 {
				t.Errorf("%d by limits, %d by what was learned", s.LimitAlerts, s.LearnedAlerts)
			}
			for _, a := range alerts {
				for _, r := range a.Reasons {
					if math.IsNaN(r.Contribution) || r.Contribution < 0 || r.Contribution > 1 {
						t.Errorf("%s contributes %v", r.Feature, r.Contribution)
					}
				}
			}
		})
	}
	t.Run("limits are silent about everything", func(t *testing.T) {
		s := randomScript(t, 1)
		s.options.Without = Absolute | Trees | Tails
		if alerts, _ := s.play(1, 1); len(alerts) > 0 {
			t.Errorf("%d alerts, the first: %s", len(alerts), alerts[0].Summary)
		}
	})
}

// While an entity is in an incident by a limit, nothing of it is learned.
func TestIncidentsAreNotLearned(t *testing.T) {
	s := newScript(t)
	s.options.Without = 0
	s.learned()
	victim := hostN(300)
	for i := range 30_000 {
		s.conn(afterwards+float64(i)/100, attemptAt(spoofed(i%2000), victim, 80, false))
	}
	_, j := s.play(1, 1)
	e := j.roles[Destination].entities.find(victim)
	if e == nil {
		t.Fatal("the victim is not known")
	}
	if h := j.habit(Destination, e); h.own.n > 3 || max(h.peak, e.peak) > float32(DefaultLimits().FloodHalfOpen) {
		t.Errorf("%d seconds of the flood were learned, and a peak of %v", h.own.n, max(h.peak, e.peak))
	}
}
