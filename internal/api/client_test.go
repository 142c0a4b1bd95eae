package api

import (
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// pace is what the hub makes of a client at a moment.
type pace struct{ Blocked, Slow bool }

func newTestClient() *client {
	return newClient(nil, newHub(hubOptions{metrics: newMetrics("test"), live: newLive()}), netip.Addr{})
}

func update(seq uint64) []*message {
	return []*message{{typ: typeStats, seq: seq, b: make([]byte, 100)}}
}

// TestCredit walks clients through time. Each step does something at a second and then looks.
func TestCredit(t *testing.T) {
	type step struct {
		at   float64
		send uint64 // seq of an update; 0: none
		ack  uint64 // 0: none
		want pace
	}
	fast, blocked, slow := pace{}, pace{Blocked: true}, pace{Slow: true}
	for _, c := range []struct {
		name  string
		steps []step
		left  leaveReason
	}{
		{"acknowledges everything", []step{
			{0, 1, 0, fast},
			{.01, 0, 1, fast},
			{.02, 2, 0, fast},
			{.03, 3, 0, blocked},
			{.04, 0, 2, fast},
			{.05, 4, 0, blocked},
			{.06, 0, 4, fast},
		}, leaveNot},
		{"never acknowledges: one a second for ever", []step{
			{0, 1, 0, fast},
			{.02, 2, 0, slow},
			{1, 3, 0, slow},
			{4, 4, 0, slow},
			{60, 5, 0, slow},
			{6000, 6, 0, slow},
		}, leaveNot},
		{"begins late to acknowledge", []step{
			{0, 1, 0, fast},
			{.02, 2, 0, slow},
			{1, 3, 0, slow},
			{1.01, 0, 3, fast},
		}, leaveNot},
		{"stalls and comes back", []step{
			{0, 1, 0, fast},
			{.01, 0, 1, fast},
			{.02, 2, 0, fast},
			{.03, 3, 0, blocked},
			{5, 0, 0, blocked},
			{5.03, 0, 0, slow},
			{6, 4, 0, slow},
			{7, 5, 0, slow},
			{7.1, 0, 3, fast}, // it lives, and 2 is covered: one credit is back
			{7.2, 0, 5, fast},
		}, leaveNot},
		{"stalls and stays away", []step{
			{0, 1, 0, fast},
			{.01, 0, 1, fast},
			{.02, 2, 0, fast},
			{.03, 3, 0, blocked},
			{29, 4, 0, slow},
			{30.03, 0, 0, slow},
		}, leaveAbandon},
		{"acknowledges what it has not got", []step{
			{0, 1, 0, fast},
			{.01, 2, 0, slow},
			{.02, 0, 99, fast},
		}, leaveNot},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := newTestClient()
			start := time.Unix(1e9, 0)
			for i, s := range c.steps {
				now := start.Add(time.Duration(s.at * float64(time.Second)))
				if s.send != 0 {
					cl.update(update(s.send), now)
					cl.pop()
				}
				if s.ack != 0 {
					cl.handle(clientMessage{Type: typeAck, Seq: s.ack}, now)
				}
				v := cl.view(now)
				if got := (pace{v.blocked, v.slow}); got != s.want {
					t.Errorf("step %d at %v s: %+v, want %+v", i, s.at, got, s.want)
				}
			}
			if cl.why != c.left {
				t.Errorf("left: %s, want %s", cl.why.label(), c.left.label())
			}
		})
	}
}

func TestAClientThatDoesNotReadIsBounded(t *testing.T) {
	c := newTestClient()
	now := time.Unix(1e9, 0)
	c.welcomed = true
	alert := &message{typ: typeAlert, b: make([]byte, 1000)}
	for range 10_000 {
		c.offerAlert(alert)
	}
	kept := maxQueue / 1000
	if len(c.queue) != kept || c.queued > maxQueue || c.takeMissed() != uint64(10_000-kept) || c.takeMissed() != 0 {
		t.Errorf("%d messages, %d bytes", len(c.queue), c.queued)
	}
	if !c.view(now).blocked {
		t.Error("it would be sent stats as well")
	}
	if d := c.hub.drops()[1]; d.Reason != "ws_client_slow" || d.Count != uint64(10_000-kept) {
		t.Errorf("%+v", d)
	}
	for c.pop() != nil {
	}
	if c.queued != 0 || c.view(now).blocked {
		t.Errorf("%d bytes after all was written", c.queued)
	}
	c.alerts = false
	c.offerAlert(alert)
	if len(c.queue) != 0 {
		t.Error("alerts for who does not want them")
	}
}

func TestPublishAlertIsBoundedWithoutAHub(t *testing.T) {
	h := newTestClient().hub
	a := exampleAlert("a", t0)
	for range pendingAlerts + 3 {
		h.publishAlert(&a)
	}
	if len(h.incoming) != pendingAlerts || h.missed != 3 || h.drops()[0].Count != 3 {
		t.Errorf("%d wait, %d missed, drops %+v", len(h.incoming), h.missed, h.drops())
	}
}

func TestWhatJSONCannotHoldIsCounted(t *testing.T) {
	h := newTestClient().hub
	a := exampleAlert("a", t0)
	a.Features["hst_score"] = math.NaN()
	h.publishAlert(&a)
	h.stats = func() models.Stats { return models.Stats{ByteRate: math.Inf(1)} }
	if b := h.encodeStats(); len(h.incoming) != 0 || string(b) != "null" || h.drops()[2].Count != 2 {
		t.Errorf("%d wait, %s, %+v", len(h.incoming), b, h.drops())
	}
}

// FuzzClientMessages lets a client say anything: it never panics, and its credit stays within bounds.
func FuzzClientMessages(f *testing.F) {
	for _, s := range []string{
		`{"type":"hello","since":{"epoch":"x","seq":1,"gen":2},"topics":[],"rate":-1e300,"token":"t"}`, `{"type":"ack","seq":18446744073709551615}`,
		`{"type":"sub","topics":["stats"]}`, `{"type":"bye"}`, `{"type":"ack","seq":1e99}`, `null`, `{"type":null,"since":null,"topics":null}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := newTestClient()
		now := time.Unix(1e9, 0)
		c.update(update(1), now)
		c.update(update(2), now)
		var m clientMessage
		if json.Unmarshal([]byte(text), &m) != nil {
			return
		}
		ok := c.handle(m, now) == ""
		if n := len(c.inFlight); n > credit || n < credit && m.Type != typeAck || ok != known(m) {
			t.Errorf("%d in flight, allowed: %v", n, ok)
		}
		c.view(now.Add(time.Hour))
	})
}

func known(m clientMessage) bool {
	switch m.Type {
	case typeAck, typeBye:
		return true
	case typeHello, typeSub:
		return !slices.ContainsFunc(m.Topics, func(t string) bool { return !slices.Contains(topics(), t) })
	}
	return false
}

func TestRingHoldsTenSecondsOrFourMegabytes(t *testing.T) {
	h := newTestClient().hub
	now := time.Unix(1e9, 0)
	put := func(n, size int, at time.Time) {
		for range n {
			h.sendAlert(h.message(typeAlert, at, make([]byte, size)), at, nil)
		}
		h.trimRing(at)
	}
	put(10, 10, now)
	put(10, 10, now.Add(9*time.Second))
	if len(h.ring) != 20 || h.resumable(sinceData{Seq: 0, Epoch: h.epoch}) != "" {
		t.Errorf("%d in the ring", len(h.ring))
	}
	put(0, 0, now.Add(11*time.Second))
	if len(h.ring) != 10 || h.ringFrom != 10 {
		t.Errorf("%d in the ring after %d", len(h.ring), h.ringFrom)
	}
	for seq, want := range map[uint64]string{9: "too_old", 10: "", 20: "", 21: "epoch"} {
		if got := h.resumable(sinceData{Seq: seq, Epoch: h.epoch}); got != want {
			t.Errorf("since %d: %q, want %q", seq, got, want)
		}
	}
	if got := h.resumable(sinceData{Epoch: "another"}); got != "epoch" {
		t.Errorf("another epoch: %q", got)
	}
	var seqs []uint64
	for _, m := range h.alertsAfter(18) {
		seqs = append(seqs, m.seq)
	}
	if diff := cmp.Diff([]uint64{19, 20}, seqs); diff != "" {
		t.Error(diff)
	}
	put(10, 1<<20, now.Add(11*time.Second))
	if h.ringSize > ringBytes || len(h.ring) != 3 {
		t.Errorf("%d bytes in %d messages", h.ringSize, len(h.ring))
	}
}
