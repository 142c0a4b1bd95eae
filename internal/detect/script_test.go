package detect

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// script is what happens when, in seconds from its beginning, which is a full day. Unlike a scene it may last for days: where nothing happens,
// one slot a second is judged. What it plays is judged by the rules alone unless its options say otherwise: trees and tails are left out.
type script struct {
	look    func(j *Judge)        // after each slot; nil: nobody does
	heir    func(j *Judge) *Judge // who judges the next slot; nil: the same
	t       testing.TB
	options Options
	moments map[int64]*moment // by slot
	last    int64             // slot
	port    uint16            // that the next client sends from
	losses  []loss
	pulse   int64 // slots, where nothing happens
}

// moment is one slot.
type moment struct {
	conns     []models.ConnSlot // those that have failed, too
	questions []models.Question
	arp       []models.Observation
}

// loss is a time in which a share of the packets is lost.
type loss struct {
	from, to float64
	share    float64
}

const (
	scriptDay    = 20_000 * 86_400 * secondMicros
	scriptSecond = secondMicros / models.SlotMicros // slots
	afterwards   = learnSeconds + 100               // when what is new is new, seconds
)

func newScript(t testing.TB) *script {
	o := Options{Sensor: "test", Without: Trees | Tails, MaxEntities: 1 << 13}
	return &script{t: t, moments: map[int64]*moment{}, options: o, port: 40_000, pulse: scriptSecond}
}

func micros(at float64) int64 { return scriptDay + int64(at*secondMicros+0.5) }

// moment is the slot at a time.
func (s *script) moment(at float64) *moment {
	n := models.Slot(micros(at))
	s.last = max(s.last, n)
	m := s.moments[n]
	if m == nil {
		m = &moment{}
		s.moments[n] = m
	}
	return m
}

// until has time pass up to a second.
func (s *script) until(at float64) { s.moment(at) }

// conn has a connection move. What is not said of it is filled in: its times, a source port, hardware addresses.
func (s *script) conn(at float64, c models.ConnSlot) {
	ts := micros(at)
	if c.First == 0 {
		c.First = ts
	}
	c.Last = max(c.Last, c.First)
	if c.Start == 0 {
		c.Start = c.First
	}
	if c.OrigPort == 0 && c.RespPort != 0 {
		s.port++
		if s.port < 40_000 {
			s.port = 40_000
		}
		c.OrigPort = s.port
	}
	if c.OrigMAC == (models.MAC{}) {
		c.OrigMAC = hardware(c.Orig)
	}
	if c.RespMAC == (models.MAC{}) {
		c.RespMAC = hardware(c.Resp)
	}
	c.Through = c.Through || c.Completed
	m := s.moment(at)
	m.conns = append(m.conns, c)
}

// hardware is the hardware address that speaks for an address: outside it is the router's.
func hardware(a models.Addr) models.MAC {
	switch {
	case a.IsMulticast():
		return models.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	case private(a):
		return models.MAC{2, byte(a.Hi >> 56), byte(a.Lo >> 24), byte(a.Lo >> 16), byte(a.Lo >> 8), byte(a.Lo)}
	}
	return models.MAC{2, 0, 0, 0, 0, 0xfe}
}

// page is a TCP connection that is opened, carries bytes up and down, and is closed, all in one slot.
func page(client, server models.Addr, port uint16, up, down uint64) models.ConnSlot {
	return models.ConnSlot{
		Orig: client, Resp: server, RespPort: port, Proto: models.ProtoTCP, New: true, Answered: true, Completed: true, Finished: true, State: models.ConnClosed,
		Up:      models.SlotDir{Packets: 5, Bytes: 300 + up, Payload: up, EntropyN: 1, EntropySum: 50_000},
		Down:    models.SlotDir{Packets: 4, Bytes: 250 + down, Payload: down, EntropyN: 1, EntropySum: 50_000},
		TotalUp: up, TotalDown: down,
	}
}

// datagrams is a question over UDP that is answered in the same slot.
func datagrams(client, server models.Addr, port uint16, up, down uint64) models.ConnSlot {
	s := page(client, server, port, up, down)
	s.Proto, s.Finished, s.State = models.ProtoUDP, false, models.ConnActive
	s.Up.Packets, s.Up.Bytes, s.Down.Packets, s.Down.Bytes = 1, 42+up, 1, 42+down
	return s
}

// refused is a SYN that a RST answers.
func refused(client, server models.Addr, port uint16) models.ConnSlot {
	return models.ConnSlot{
		Orig: client, Resp: server, RespPort: port, Proto: models.ProtoTCP, New: true, Answered: true, Finished: true, State: models.ConnReset,
		Up: models.SlotDir{Packets: 1, Bytes: 60}, Down: models.SlotDir{Packets: 1, Bytes: 60},
	}
}

// silent is a first packet that nothing comes back to; thirty seconds later it has failed.
func (s *script) silent(at float64, proto models.Proto, client, server models.Addr, port uint16) {
	c := models.ConnSlot{Orig: client, Resp: server, RespPort: port, Proto: proto, New: true, Up: models.SlotDir{Packets: 1, Bytes: 60}}
	if proto == models.ProtoTCP {
		c.State = models.ConnSynSent
	}
	if proto == models.ProtoICMP {
		c.ICMPType = 8
	}
	if proto.HasPorts() {
		s.port++
		c.OrigPort = s.port
	}
	s.conn(at, c)
	s.failed(at+30, c, micros(at))
}

// failed ends a connection that has had no answer, whose packets were all sent at last.
func (s *script) failed(at float64, c models.ConnSlot, last int64) {
	c.New, c.Failed, c.Up = false, true, models.SlotDir{}
	c.Start, c.Before, c.First, c.Last = last, last, last, last
	s.conn(at, c)
}

// session is a TCP connection that lasts, and moves every so many seconds.
func (s *script) session(from, to, every float64, c models.ConnSlot, up, down uint64) {
	s.port++
	c.OrigPort, c.Proto, c.State, c.Answered, c.Through = s.port, models.ProtoTCP, models.ConnEstablished, true, true
	c.Start = micros(from)
	c.TotalUp, c.TotalDown = 0, 0
	for at := from; at <= to; at += every {
		c.New, c.Completed = at == from, at == from
		c.First, c.Last = micros(at), micros(at)
		c.TotalUp += up
		c.TotalDown += down
		c.Up = models.SlotDir{Packets: uint32(1 + up/1400), Bytes: up + 54*(1+up/1400), Payload: up, EntropyN: 1, EntropySum: 70_000}
		c.Down = models.SlotDir{Packets: uint32(1 + down/1400), Bytes: down + 54*(1+down/1400), Payload: down, EntropyN: 1, EntropySum: 70_000}
		s.conn(at, c)
		c.Before = c.Last
	}
}

// work is what four hosts of the office do in a time: they use eight servers outside, each of more than one.
func (s *script) work(from, to float64) {
	rng := rand.New(rand.NewPCG(uint64(from), 7))
	for at := from + 1; at < to; at += 1 + 6*rng.Float64() {
		c := page(addr(fmt.Sprintf("10.0.0.%d", 1+rng.IntN(4))), addr(fmt.Sprintf("198.51.%d.10", 100+rng.IntN(8))), []uint16{443, 443, 80}[rng.IntN(3)], uint64(200+rng.IntN(2000)), uint64(500+rng.IntN(200_000)))
		c.Hello = c.RespPort == 443
		s.conn(at, c)
	}
}

// learned has the time pass in which everything is taken for usual.
func (s *script) learned() *script {
	s.work(0, afterwards)
	return s
}

func question(client, server models.Addr, qtype uint16, name string) models.Question {
	q := models.Question{Client: client, Server: server, QType: qtype, Size: uint32(18 + len(name)), Len: uint8(len(name))}
	copy(q.Name[:], name)
	return q
}

// ask has a DNS message pass.
func (s *script) ask(at float64, q models.Question) {
	q.TS = micros(at)
	m := s.moment(at)
	m.questions = append(m.questions, q)
}

// answer has a DNS message come back that carries so many bytes beyond the question.
func (s *script) answer(at float64, q models.Question, more int) {
	q.Answer = true
	q.Size += uint32(more)
	s.ask(at, q)
}

// hear has an ARP packet pass.
func (s *script) hear(at float64, op uint16, mac models.MAC, sender, target models.Addr) {
	m := s.moment(at)
	m.arp = append(m.arp, models.Observation{TS: micros(at), Op: op, Sender: sender, Target: target, MAC: mac})
}

// lost is how many of how many packets have been lost by a time.
func (s *script) lost(slot int64) (received, lost uint64) {
	at := float64(slot*models.SlotMicros-scriptDay) / secondMicros
	received = uint64(max(at, 0) * 1000)
	for _, l := range s.losses {
		if at > l.from {
			lost += uint64((min(at, l.to) - l.from) * 1000 * l.share)
		}
	}
	return received, lost
}

// play plays the script to workers that each get a share of every slot, in an order of their own.
func (s *script) play(workers int, seed uint64) (alerts []models.Alert, j *Judge) {
	s.t.Helper()
	j, err := NewJudge(s.options)
	if err != nil {
		s.t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 99))
	sent := map[string]int64{} // slot of the latest revision
	parts := make([]*Accumulator, workers)
	for i := range parts {
		parts[i] = &Accumulator{}
	}
	busy := slices.Sorted(maps.Keys(s.moments))
	for n := models.Slot(scriptDay); n <= s.last; n = min(n+s.pulse-n%s.pulse, busy[0]) {
		m := &moment{}
		if n == busy[0] {
			m = s.moments[n]
			busy = append(busy[1:], s.last+1)
		}
		m.deal(parts, rng)
		received, lost := s.lost(n)
		now := j.Slot(n, parts, received, lost)
		if s.look != nil {
			s.look(j)
		}
		for _, a := range now {
			least := int64(scriptSecond)
			if a.Category == models.CategoryAnomaly { // it is about the second that ended with the slot judged before
				least -= s.pulse
			}
			if a.State == models.AlertOpen && a.Rev > 1 && n-sent[a.ID] < least {
				s.t.Errorf("%s: revision %d is %d slots after the one before", a.Summary, a.Rev, n-sent[a.ID])
			}
			sent[a.ID] = n
		}
		alerts = append(alerts, slices.Clone(now)...)
		if s.heir != nil {
			j = s.heir(j)
		}
	}
	return append(alerts, slices.Clone(j.Finish())...), j
}

// deal gives each worker its share.
func (m *moment) deal(parts []*Accumulator, rng *rand.Rand) {
	slots, failed := make([][]models.ConnSlot, len(parts)), make([][]models.ConnSlot, len(parts))
	questions := make([][]models.Question, len(parts))
	for _, i := range rng.Perm(len(m.conns)) {
		to, c := rng.IntN(len(parts)), m.conns[i]
		if c.Failed {
			failed[to] = append(failed[to], c)
		} else {
			slots[to] = append(slots[to], c)
		}
	}
	for _, i := range rng.Perm(len(m.questions)) {
		to := rng.IntN(len(parts))
		questions[to] = append(questions[to], m.questions[i])
	}
	for i, a := range parts {
		a.Reset()
		a.Add(slots[i])
		a.Fail(failed[i])
		a.ObserveDNS(questions[i], 0)
	}
	for _, i := range rng.Perm(len(m.arp)) {
		parts[rng.IntN(len(parts))].Observe(m.arp[i])
	}
}

// tell is what a person is told of one incident, in the end: when it crossed the line, who and what, the sentence, what would have had to be
// different, and the reasons.
func tell(a *models.Alert) string {
	var b strings.Builder
	at := float64(int64(a.TS)-scriptDay) / secondMicros
	fmt.Fprintf(&b, "%.2f s: %s, %s, %s > %s:%d/%s, count %d\n  %s\n  %s\n", at, a.Category, a.Severity, a.SrcIP, a.DstIP, a.DstPort, a.Proto, a.Count, a.Summary, a.Counterfactual)
	for _, r := range a.Reasons {
		fmt.Fprintf(&b, "  %s: %s, usually %s to %s (%s)\n", r.Feature, valueText(r.Value, r.Unit), valueText(r.Expected.Low, ""), valueText(r.Expected.High, ""), r.Basis)
	}
	return b.String()
}

// final is the last revision of every incident, in the order in which they were opened.
func final(alerts []models.Alert) []models.Alert {
	ends := map[string]models.Alert{}
	for _, a := range alerts {
		ends[a.ID] = a
	}
	return slices.SortedFunc(maps.Values(ends), func(a, b models.Alert) int {
		return cmp.Or(cmp.Compare(a.TS, b.TS), cmp.Compare(a.Category, b.Category), cmp.Compare(a.ID, b.ID))
	})
}

// rule is one case of a rule: what happens, and the categories of the incidents that it makes.
type rule struct {
	name string
	play func(s *script)
	want string
}

var update = flag.Bool("update", false, "write the golden files anew")

// checkRules plays every case to one worker and, in another order, to three. What is told of the incidents is held by a golden file.
func checkRules(t *testing.T, rules []rule) {
	t.Helper()
	words := make([]strings.Builder, len(rules))
	t.Run("rules", func(t *testing.T) {
		for i, r := range rules {
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				s := newScript(t)
				r.play(s)
				checkRule(t, s, r.want, &words[i])
			})
		}
	})
	var all strings.Builder
	for i, r := range rules {
		fmt.Fprintf(&all, "== %s\n%s", r.name, words[i].String())
	}
	checkGolden(t, "testdata/"+strings.TrimPrefix(t.Name(), "Test")+".golden", all.String())
}

func checkRule(t *testing.T, s *script, want string, words *strings.Builder) {
	t.Helper()
	alerts, _ := s.play(1, 1)
	var got []string
	for _, a := range final(alerts) {
		got = append(got, string(a.Category))
		words.WriteString(tell(&a))
		checkIncident(t, slices.DeleteFunc(slices.Clone(alerts), func(o models.Alert) bool { return o.ID != a.ID }))
	}
	if text := strings.Join(got, " "); text != want {
		t.Errorf("%q, want %q\n%s", text, want, words)
	}
	const long = 5000 // slots
	if testing.Short() && len(s.moments) > long {
		return
	}
	again, _ := s.play(3, 2)
	if d := diff.Diff(alerts, again); d != "" {
		t.Errorf("with three workers and in another order (-one +three)\n%s", d)
	}
	s.heir, _ = relay(t, 997)
	if relayed, _ := s.play(1, 1); diff.Diff(alerts, relayed) != "" {
		t.Errorf("with a judge that is replaced by its successor (-never +replaced)\n%s", diff.Diff(alerts, relayed))
	}
	s.heir = nil
}

// checkIncident holds what is true of every incident's revisions.
func checkIncident(t *testing.T, alerts []models.Alert) {
	t.Helper()
	for i, a := range alerts {
		if a.Rev != int64(i+1) || a.TS != alerts[0].TS {
			t.Errorf("revision %d is %d, of %v and not %v", i+1, a.Rev, a.TS, alerts[0].TS)
		}
		if open := i < len(alerts)-1; open != (a.State == models.AlertOpen) {
			t.Errorf("revision %d is %s", i+1, a.State)
		}
		if i > 0 && (a.Count < alerts[i-1].Count || a.Score < alerts[i-1].Score || a.LastTS < alerts[i-1].LastTS) {
			t.Errorf("revision %d counts %d after %d, scores %v after %v", i+1, a.Count, alerts[i-1].Count, a.Score, alerts[i-1].Score)
		}
		goesOn := regexp.MustCompile(` is (scanning|sweeping|being|receiving|uploading|spreading) | (calls|keeps|may be trying|carries|exchange) `).MatchString(a.Summary)
		over := regexp.MustCompile(` was (scanning|sweeping|being|receiving|uploading|spreading) | (called|kept|may have been|carried|exchanged) `).MatchString(a.Summary)
		if goesOn && a.State == models.AlertClosed || over && a.State == models.AlertOpen {
			t.Errorf("%s: %s", a.State, a.Summary)
		}
		checkComplete(t, &a)
	}
}

// checkComplete holds what is true of every alert.
func checkComplete(t testing.TB, a *models.Alert) {
	t.Helper()
	if a.Score < models.AlertLine || a.Score > 1 || a.Count == 0 || a.LastTS < a.TS || a.CaptureConfidence < 0 || a.CaptureConfidence > 1 {
		t.Errorf("score %v, count %d, %v to %v, confidence %v: %s", a.Score, a.Count, a.TS, a.LastTS, a.CaptureConfidence, a.Summary)
	}
	if a.ID == "" || a.Summary == "" || a.Counterfactual == "" || len(a.Facts) == 0 || len(a.Reasons) == 0 || a.Severity == "" || a.Proto == "" || a.Detector.Name == "" {
		t.Errorf("incomplete: %+v", a)
	}
	for _, slip := range []string{"%!", "NaN", "Inf", "\n", "\x1b", "  "} {
		if strings.Contains(a.Summary+a.Counterfactual, slip) {
			t.Errorf("%q contains %q", a.Summary+a.Counterfactual, slip)
		}
	}
	for _, ip := range []string{a.SrcIP, a.DstIP} {
		if _, err := netip.ParseAddr(ip); err != nil {
			t.Errorf("%s: %v", a.Summary, err)
		}
	}
	if !slices.Contains(models.Categories(), a.Category) || !slices.Contains(models.Severities(), a.Severity) {
		t.Errorf("category %s, severity %s", a.Category, a.Severity)
	}
	contributed := 0.0
	for _, r := range a.Reasons {
		contributed += r.Contribution
		if r.Feature == "" || r.Basis == "" || math.IsNaN(r.Value) || math.IsInf(r.Value, 0) || r.Expected.Low > r.Expected.High {
			t.Errorf("reason %+v", r)
		}
	}
	if contributed < 0.3 || contributed > 1.001 {
		t.Errorf("%s: the reasons contribute %v", a.Summary, contributed)
	}
	for _, f := range []string{"entropy", "packet_rate", "byte_rate", "hst_score"} {
		if _, ok := a.Features[f]; !ok {
			t.Errorf("%s: no feature %s", a.Summary, f)
		}
	}
	for _, top := range []models.Top{a.Peers, a.Ports} {
		if len(top.Top) > topTen || uint64(len(top.Top)) > top.Total {
			t.Errorf("%s: %d of %d are listed", a.Summary, len(top.Top), top.Total)
		}
	}
}

func checkGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := diff.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("%s (-golden +got)\n%s", path, d)
	}
}
