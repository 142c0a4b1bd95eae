package flow

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/capture"
	"netlyra/internal/decode"
	"netlyra/internal/models"
	"netlyra/internal/nettest"
)

func ip(s string) models.Addr { return models.AddrFromNetip(netip.MustParseAddr(s)) }

func newTable(t testing.TB, o Options) *Table {
	t.Helper()
	table, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	table.OpenSlot(0)
	return table
}

func tcpPacket(ts int64, src string, srcPort uint16, dst string, dstPort uint16, f models.TCPFlags) models.Packet {
	return models.Packet{PacketMeta: models.PacketMeta{
		TS: ts, Src: ip(src), Dst: ip(dst), SrcPort: srcPort, DstPort: dstPort, Proto: models.ProtoTCP, Flags: f, WireLen: 60,
	}}
}

func reply(ts int64, f models.TCPFlags) models.Packet {
	return tcpPacket(ts, "10.0.0.2", 443, "10.0.0.1", 40000, f)
}

func request(ts int64, f models.TCPFlags) models.Packet {
	return tcpPacket(ts, "10.0.0.1", 40000, "10.0.0.2", 443, f)
}

func TestTCPStates(t *testing.T) {
	const S, A, F, R = models.SYN, models.ACK, models.FIN, models.RST
	for _, tc := range []struct {
		name string
		ps   []models.Packet
		want models.ConnState
	}{
		{"syn", []models.Packet{request(1, S)}, models.ConnSynSent},
		{"syn-ack", []models.Packet{request(1, S), reply(2, S|A)}, models.ConnSynReceived},
		{"handshake", []models.Packet{request(1, S), reply(2, S|A), request(3, A)}, models.ConnEstablished},
		{"half closed", []models.Packet{request(1, S), reply(2, S|A), request(3, A), request(4, F|A)}, models.ConnClosing},
		{"closed", []models.Packet{request(1, S), reply(2, S|A), request(3, A), request(4, F|A), reply(5, F|A)}, models.ConnClosed},
		{"refused", []models.Packet{request(1, S), reply(2, R|A)}, models.ConnReset},
		{"mid-stream", []models.Packet{request(1, A)}, models.ConnActive},
		{"stray SYN in a connection", []models.Packet{request(1, S), reply(2, S|A), request(3, A), request(4, S)}, models.ConnEstablished},
		{"answer seen first", []models.Packet{reply(2, S|A)}, models.ConnSynReceived},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table := newTable(t, Options{Records: 10})
			table.Update(tc.ps, nil)
			table.Flush(1 << 30)
			rs := table.Drain()
			if len(rs) != 1 || rs[0].State != tc.want {
				t.Fatalf("%d records, state %v, want 1, %v", len(rs), rs[0].State, tc.want)
			}
			if rs[0].Orig != ip("10.0.0.1") || rs[0].RespPort != 443 {
				t.Errorf("initiator %v, responder's port %d", rs[0].Orig, rs[0].RespPort)
			}
		})
	}
}

func TestANewSYNOnAFinishedConnectionOpensAnother(t *testing.T) {
	const S, A, R = models.SYN, models.ACK, models.RST
	table := newTable(t, Options{Records: 10})
	table.Update([]models.Packet{request(1, S), reply(2, R|A), request(3, S)}, nil)
	rs := table.Drain()
	if len(rs) != 1 || rs[0].End != models.ConnReused {
		t.Fatalf("%+v, want one record that ended by reuse", rs)
	}
	if c := table.Counters(); c.Opened != 2 || c.Active != 1 || c.Expired != 1 {
		t.Errorf("%+v", c)
	}
}

func TestICMPRequestAndReplyAreOneConnection(t *testing.T) {
	icmp := func(src, dst string, typ uint8) models.Packet {
		return models.Packet{PacketMeta: models.PacketMeta{TS: 1, Src: ip(src), Dst: ip(dst), Proto: models.ProtoICMP, ICMPType: typ}}
	}
	table := newTable(t, Options{Records: 10})
	table.Update([]models.Packet{icmp("10.0.0.2", "10.0.0.1", 0), icmp("10.0.0.1", "10.0.0.2", 8), icmp("10.0.0.2", "10.0.0.1", 3)}, nil)
	table.Flush(1 << 30)
	rs := table.Drain()
	if len(rs) != 2 {
		t.Fatalf("%d connections, want the echo and the error", len(rs))
	}
	if rs[0].Orig != ip("10.0.0.1") || rs[0].Packets != [2]uint64{1, 1} {
		t.Errorf("echo: initiator %v, packets %v", rs[0].Orig, rs[0].Packets)
	}
}

func TestSlotsAddUpToTheConnection(t *testing.T) {
	table := newTable(t, Options{Records: 10})
	var up, down uint64
	for slot := range int64(3) {
		table.OpenSlot(slot)
		ts := slot * models.SlotMicros
		table.Update([]models.Packet{request(ts+1, models.ACK), reply(ts+2, models.ACK), request(ts+3, models.ACK)}, nil)
		s := table.Slots()
		if len(s) != 1 || s[0].New != (slot == 0) || !s[0].Answered || s[0].First != ts+1 || s[0].Last != ts+3 {
			t.Fatalf("slot %d: %+v", slot, s)
		}
		up += s[0].Up.Bytes
		down += s[0].Down.Bytes
	}
	table.Flush(1 << 30)
	if r := table.Drain()[0]; r.Bytes != [2]uint64{up, down} || up != 360 {
		t.Errorf("connection %v, slots %d and %d", r.Bytes, up, down)
	}
}

// naive is the second implementation: a map, and the rules written down once more in the plainest way.
type naive struct {
	open map[naiveKey]*naiveConn
	done []naiveConn
}

type naiveKey struct {
	a, b  netip.AddrPort
	proto models.Proto
}

type naiveConn struct {
	Key         naiveKey
	initiator   netip.AddrPort
	First, Last int64
	Packets     uint64
	Bytes       uint64
	fin         map[netip.AddrPort]bool
	state       string
}

func (c *naiveConn) idleLimit() time.Duration {
	switch {
	case c.Key.proto != models.ProtoTCP:
		return 60 * time.Second
	case c.state == "closed" || c.state == "reset":
		return 10 * time.Second
	case c.state == "syn" || c.state == "synack":
		return 30 * time.Second
	}
	return 300 * time.Second
}

func (n *naive) add(p models.Packet) {
	if p.Proto == models.ProtoARP {
		return
	}
	p.SrcPort, p.DstPort = naivePorts(p)
	src, dst := netip.AddrPortFrom(p.Src.Netip(), p.SrcPort), netip.AddrPortFrom(p.Dst.Netip(), p.DstPort)
	syn, ack := p.Flags&models.SYN != 0, p.Flags&models.ACK != 0
	k := naiveKey{src, dst, p.Proto}
	if dst.Compare(src) < 0 {
		k = naiveKey{dst, src, p.Proto}
	}
	c := n.open[k]
	if c != nil {
		reopened := (c.state == "closed" || c.state == "reset") && syn && !ack
		if p.TS-c.Last > c.idleLimit().Microseconds() || reopened {
			n.done = append(n.done, *c)
			c = nil
		}
	}
	if c == nil {
		c = &naiveConn{Key: k, initiator: src, First: p.TS, Last: p.TS, fin: map[netip.AddrPort]bool{}}
		if naiveAnswer(p) {
			c.initiator = dst
		}
		n.open[k] = c
	}
	c.Last = max(c.Last, p.TS)
	c.Packets++
	c.Bytes += uint64(p.WireLen)
	if p.Proto != models.ProtoTCP || c.state == "reset" {
		return
	}
	if p.Flags&models.RST != 0 {
		c.state = "reset"
	} else if p.Flags&models.FIN != 0 {
		c.fin[src] = true
		c.state = "closing"
		if len(c.fin) == 2 {
			c.state = "closed"
		}
	} else if syn && (c.state == "" || c.state == "syn" || c.state == "synack") {
		if ack {
			c.state = "synack"
		} else if c.Packets == 1 {
			c.state = "syn"
		}
	} else if !syn && c.state == "synack" && src == c.initiator {
		c.state = "established"
	}
}

// naiveICMP pairs requests with replies.
func naiveICMP(proto models.Proto) map[uint8]uint8 {
	if proto == models.ProtoICMP {
		return map[uint8]uint8{8: 0, 13: 14, 15: 16, 17: 18, 10: 9}
	}
	return map[uint8]uint8{128: 129, 130: 131, 133: 134, 135: 136, 139: 140, 144: 145}
}

func naivePorts(p models.Packet) (src, dst uint16) {
	if p.Proto != models.ProtoICMP && p.Proto != models.ProtoICMPv6 {
		return p.SrcPort, p.DstPort
	}
	for request, reply := range naiveICMP(p.Proto) {
		switch p.ICMPType {
		case request:
			return uint16(request), uint16(reply)
		case reply:
			return uint16(reply), uint16(request)
		}
	}
	return uint16(p.ICMPType), uint16(p.ICMPCode)
}

// naiveAnswer says whether the first packet of a connection is an answer.
func naiveAnswer(p models.Packet) bool {
	switch p.Proto {
	case models.ProtoTCP:
		if p.Flags&models.SYN != 0 {
			return p.Flags&models.ACK != 0
		}
		return p.Frag != models.FragLater && p.Flags&models.RST == 0 && p.SrcPort < 1024 && p.DstPort >= 1024
	case models.ProtoICMP, models.ProtoICMPv6:
		for _, reply := range naiveICMP(p.Proto) {
			if p.ICMPType == reply {
				return true
			}
		}
	default:
	}
	return false
}

func (n *naive) all() map[string]int {
	for _, c := range n.open {
		n.done = append(n.done, *c)
	}
	m := map[string]int{}
	for _, c := range n.done {
		m[text(c.Key.a, c.Key.b, c.Key.proto, c.First, c.Last, c.Packets, c.Bytes)]++
	}
	return m
}

func text(a, b netip.AddrPort, proto models.Proto, first, last int64, packets, bytes uint64) string {
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return fmt.Sprintf("%v %v %v %d-%d %d/%d", a, b, proto, first, last, packets, bytes)
}

// randomTraffic is a stream of packets between few endpoints, so that every rule of the table comes up many times.
func randomTraffic(seed uint64, n int) []models.Packet {
	rng := rand.New(rand.NewPCG(seed, 1))
	flags := []models.TCPFlags{models.SYN, models.SYN | models.ACK, models.ACK, models.ACK | models.PSH, models.FIN | models.ACK, models.RST, models.ACK}
	ps := make([]models.Packet, 0, n)
	ts := int64(1_700_000_000_000_000)
	for range n {
		ts += rng.Int64N(200_000)
		if rng.IntN(500) == 0 {
			ts += rng.Int64N(400_000_000)
		}
		hosts := [2]string{fmt.Sprintf("10.0.0.%d", 1+rng.IntN(6)), fmt.Sprintf("10.0.1.%d", 1+rng.IntN(6))}
		ports := [2]uint16{uint16(40000 + rng.IntN(3)), 2000} // above 1024: no guessing of the initiator by port
		if rng.IntN(2) == 0 {
			hosts[0], hosts[1] = hosts[1], hosts[0]
			ports[0], ports[1] = ports[1], ports[0]
		}
		p := tcpPacket(ts, hosts[0], ports[0], hosts[1], ports[1], flags[rng.IntN(len(flags))])
		if rng.IntN(3) == 0 {
			p.Proto, p.Flags = models.ProtoUDP, 0
		} else if p.Flags == models.SYN|models.ACK && rng.IntN(4) > 0 {
			p.Flags = models.ACK
		}
		p.WireLen = uint32(60 + rng.IntN(1400))
		ps = append(ps, p)
	}
	return ps
}

func TestConnectionsWithExpiryEqualANaiveImplementation(t *testing.T) {
	for seed := range uint64(20) {
		ps := randomTraffic(seed, 4000)
		n := naive{open: map[naiveKey]*naiveConn{}}
		table := newTable(t, Options{Records: 10_000, Seed: seed})
		for len(ps) > 0 {
			batch := ps[:min(37, len(ps))]
			play(&n, table, batch)
			table.Advance(batch[len(batch)-1].TS)
			ps = ps[len(batch):]
		}
		if d := cmp.Diff(n.all(), records(table)); d != "" {
			t.Fatalf("seed %d (-naive +table)\n%s", seed, d)
		}
		if c := table.Counters(); c.Opened != c.Expired || c.Active != 0 || len(table.hellos) != 0 {
			t.Fatalf("seed %d: %+v, %d hellos", seed, c, len(table.hellos))
		}
	}
}

func play(n *naive, table *Table, ps []models.Packet) {
	for _, p := range ps {
		n.add(p)
	}
	table.Update(ps, nil)
}

// records ends all connections of a table and lists them as naive does.
func records(table *Table) map[string]int {
	table.Flush(1 << 30)
	got := map[string]int{}
	for _, r := range table.Drain() {
		got[text(netip.AddrPortFrom(r.Orig.Netip(), r.OrigPort), netip.AddrPortFrom(r.Resp.Netip(), r.RespPort), r.Proto, r.First, r.Last, r.Packets[0]+r.Packets[1], r.Bytes[0]+r.Bytes[1])]++
	}
	return got
}

// The same on real captures: the sample, and those beside the project. In some of those time runs backwards, so connections end when a
// packet finds them overdue, and not by Advance.
func TestConnectionsOfCapturesEqualANaiveImplementation(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(nettest.SharedDir(t), "captures", "*", "*.pcap*"))
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		files = nil
	}
	total := 0
	for _, path := range append(files, "../../demo/sample.pcap.zst") {
		f, err := capture.OpenFile(path, capture.FileOptions{})
		if err != nil {
			continue // package capture's tests say which files those are
		}
		n := naive{open: map[naiveKey]*naiveConn{}}
		table := newTable(t, Options{Records: 1 << 22})
		var (
			b  models.Batch
			d  decode.Decoder
			ps []models.Packet
		)
		for err == nil {
			err = f.Read(&b)
			ps = ps[:0]
			for i := range b.Frames {
				var p models.Packet
				if d.Frame(&b.Frames[i], &p) == decode.OK {
					ps = append(ps, p)
				}
			}
			play(&n, table, ps)
		}
		if _, unknown := errors.AsType[*capture.LinkTypeError](err); !unknown && !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", path, err)
		}
		want := n.all()
		total += len(want)
		if diff := cmp.Diff(want, records(table)); diff != "" {
			t.Errorf("%s (-naive +table)\n%s", path, diff)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d files, %d connections", len(files)+1, total)
}

func TestAFullTableEvictsTheHalfOpenFirst(t *testing.T) {
	const room = 1000
	table := newTable(t, Options{MaxConnections: room, Records: 10})
	const S, A = models.SYN, models.ACK
	table.Update([]models.Packet{request(1, S), reply(2, S|A), request(3, A)}, nil)
	for i := range 50_000 {
		p := tcpPacket(int64(1000+i), "192.0.2.1", uint16(i), fmt.Sprintf("198.51.100.%d", i>>8), 80, S)
		table.Update([]models.Packet{p}, nil)
	}
	c := table.Counters()
	if c.Active != room || c.Evicted != 50_001-room {
		t.Errorf("%+v", c)
	}
	p := []models.Packet{request(60_000, A)}
	table.Update(p, nil)
	if p[0].ConnStart != 1 {
		t.Errorf("the established connection was evicted; it now starts at %d", p[0].ConnStart)
	}
}

func TestTheClockMayJump(t *testing.T) {
	table := newTable(t, Options{Records: 100})
	for _, ts := range []int64{1e15, 1e15 + 3600e6, 1e12, 2e15, 5, 1e15} {
		table.Update([]models.Packet{request(ts, models.ACK)}, nil)
		table.Advance(ts)
	}
	table.Advance(1 << 60)
	if c := table.Counters(); c.Active != 0 || c.Opened != c.Expired {
		t.Errorf("%+v", c)
	}
}

// When the clock was set back and everything has been flushed, time-outs hold in the new time.
func TestExpiryAfterTheClockWasSetBack(t *testing.T) {
	table := newTable(t, Options{})
	table.Update([]models.Packet{request(1e15, models.ACK)}, nil)
	table.Advance(1e15)
	table.Flush(1 << 30)
	table.Update([]models.Packet{request(1e12, models.ACK)}, nil)
	table.Advance(1e12 + 400e6)
	if c := table.Counters(); c.Active != 0 || c.Opened != 2 {
		t.Errorf("%+v", c)
	}
}

func TestNothingIsAllocatedPerPacket(t *testing.T) {
	table := newTable(t, Options{MaxConnections: 4096})
	ps := randomTraffic(3, 4096)
	var arena []byte
	table.Update(ps, arena)
	slot := int64(0)
	if n := testing.AllocsPerRun(20, func() {
		slot++
		table.OpenSlot(slot)
		for i := range ps {
			ps[i].TS += 1e9
		}
		arena = table.Update(ps, arena[:0])
		table.Advance(ps[len(ps)-1].TS)
	}); n > 0 {
		t.Errorf("%v allocations for %d packets, want 0", n, len(ps))
	}
}

func BenchmarkUpdate(b *testing.B) {
	for _, conns := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(conns), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 1))
			table := newTable(b, Options{})
			ps := make([]models.Packet, 1<<18)
			for i := range ps {
				n := rng.IntN(conns)
				ps[i] = tcpPacket(int64(i), "10.0.0.1", uint16(n), "10.1.0.1", 80, models.ACK)
				ps[i].Src.Lo += uint64(n)
				ps[i].Proto = models.ProtoUDP
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if i&(1<<8-1) == 0 {
					table.OpenSlot(int64(i))
				}
				at := i * 64 & (len(ps) - 1)
				table.Update(ps[at:at+64], nil)
				i++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/packet")
		})
	}
}

// A connection that nobody has answered is told of once, as it stood: when its last packet was sent tells whether the way was open.
func TestAConnectionWithoutAnAnswerIsTold(t *testing.T) {
	const second = 1_000_000
	table := newTable(t, Options{})
	table.Update([]models.Packet{request(5*second, models.SYN), request(8*second, models.SYN)}, nil)
	table.Advance(20 * second)
	if got := table.TakeFailed(nil); len(got) > 0 {
		t.Fatalf("it is still open, and has failed: %+v", got)
	}
	table.Advance(100 * second)
	want := []models.ConnSlot{{
		ConnID: 1, Start: 5 * second, Before: 8 * second, First: 8 * second, Last: 8 * second, Orig: ip("10.0.0.1"), Resp: ip("10.0.0.2"),
		OrigPort: 40000, RespPort: 443, Proto: models.ProtoTCP, State: models.ConnSynSent, Failed: true,
	}}
	if d := cmp.Diff(want, table.TakeFailed(nil)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	table.Update([]models.Packet{request(200*second, models.SYN), reply(201*second, models.SYN|models.ACK)}, nil)
	table.Advance(300 * second)
	if got := table.TakeFailed(nil); len(got) > 0 {
		t.Errorf("it was answered, and has failed: %+v", got)
	}
}

// Whatever comes first, a connection ends as soon as its time-out is over: the wheel's time is that of the first packet.
func TestTimeOutsHoldFromTheFirstSecondOn(t *testing.T) {
	const second = 1_000_000
	table := newTable(t, Options{})
	table.Update([]models.Packet{request(1e15, models.ACK)}, nil) // its own time-out is 5 min
	p := tcpPacket(1e15+second, "10.0.0.3", 1, "10.0.0.4", 2, models.SYN)
	table.Update([]models.Packet{p}, nil)
	table.Advance(1e15 + 30*second)
	if c := table.Counters(); c.Active != 2 {
		t.Fatalf("after 29 s: %+v", c)
	}
	table.Advance(1e15 + 33*second)
	if c, failed := table.Counters(), table.TakeFailed(nil); c.Active != 1 || len(failed) != 1 {
		t.Errorf("after 32 s the attempt without an answer has not ended: %+v, %d failed", c, len(failed))
	}
}

// A connection that was recorded as open is recorded as ended, however many end at once.
func TestNoConnectionStaysOpenInTheRecords(t *testing.T) {
	const second = 1_000_000
	const n, room = 500, 100
	table := newTable(t, Options{Records: room})
	open := map[int64]bool{}
	take := func() {
		for _, r := range table.Drain() {
			if r.End == models.ConnOpen {
				open[r.ID] = true
			} else {
				delete(open, r.ID)
			}
		}
	}
	at := int64(1e15)
	for i := range n {
		src, dst := fmt.Sprintf("10.0.%d.%d", i/250, i%250), "10.1.0.1"
		table.Update([]models.Packet{tcpPacket(at, src, 1, dst, 80, models.SYN), tcpPacket(at, dst, 80, src, 1, models.SYN|models.ACK)}, nil)
	}
	for range 20 {
		table.Sweep(1)
		take()
	}
	if len(open) != n {
		t.Fatalf("%d connections are recorded as open, want %d", len(open), n)
	}
	for s := range int64(60) {
		table.Advance(at + (40+s)*second)
		take()
	}
	if c := table.Counters(); len(open) > 0 || c.Active > 0 || c.RecordsLost > 0 {
		t.Errorf("%d stay open in the records: %+v", len(open), c)
	}
}

// The parts of Live are the whole table, each connection once, whatever the number of places.
func TestLiveComesInParts(t *testing.T) {
	for _, n := range []int{0, 1, livePart, livePart + 1, 2*livePart + 5} {
		table := newTable(t, Options{MaxConnections: 3 * livePart})
		for i := range n {
			p := tcpPacket(int64(i), "10.0.0.1", uint16(1+i%60_000), fmt.Sprintf("10.0.%d.2", 1+i/60_000), 443, models.SYN)
			table.Update([]models.Packet{p}, nil)
		}
		seen := map[int64]bool{}
		var rs []Record
		for from, more := uint32(0), true; more; {
			rs, from = table.Live(rs[:0], from, func(*Record) bool { return true })
			if len(rs) > livePart {
				t.Fatalf("%d records in a part of %d", len(rs), livePart)
			}
			for i := range rs {
				seen[rs[i].ID] = true
			}
			more = from != 0
		}
		if len(seen) != n {
			t.Errorf("%d connections of %d", len(seen), n)
		}
	}
}

func TestCompleted(t *testing.T) {
	for _, tc := range []struct {
		state    models.ConnState
		answered uint64
		want     bool
	}{
		{models.ConnSynSent, 0, false},
		{models.ConnSynReceived, 1, false},
		{models.ConnEstablished, 1, true},
		{models.ConnClosing, 2, true},
		{models.ConnClosed, 3, true},
		{models.ConnReset, 1, false},
		{models.ConnActive, 0, false},
		{models.ConnActive, 1, true},
	} {
		r := Record{State: tc.state, Packets: [2]uint64{1, tc.answered}}
		if got := r.Completed(); got != tc.want {
			t.Errorf("%v with %d answers: %v", tc.state, tc.answered, got)
		}
	}
}

// The packets that begin an attempt, and with which it gets through, are marked, once each.
func TestVerdictsStandOnThePacket(t *testing.T) {
	const S, A, F, R = models.SYN, models.ACK, models.FIN, models.RST
	packet := func(ts int64, src string, srcPort uint16, dst string, dstPort uint16, proto models.Proto, icmp uint8) models.Packet {
		return models.Packet{PacketMeta: models.PacketMeta{TS: ts, Src: ip(src), Dst: ip(dst), SrcPort: srcPort, DstPort: dstPort, Proto: proto, ICMPType: icmp}}
	}
	icmp := func(ts int64, src, dst string, typ uint8) models.Packet {
		return packet(ts, src, 0, dst, 0, models.ProtoICMP, typ)
	}
	for _, tc := range []struct {
		name             string
		ps               []models.Packet
		new, established []int // indices of packets
	}{
		{"handshake and close", []models.Packet{request(1, S), reply(2, S|A), request(3, A), request(4, A), reply(5, F|A), request(6, F|A)}, []int{0}, []int{2}},
		{"SYN again", []models.Packet{request(1, S), request(2, S), reply(3, S|A), reply(4, S|A), request(5, A)}, []int{0}, []int{4}},
		{"refused, then anew", []models.Packet{request(1, S), reply(2, R|A), request(3, S), reply(4, S|A), request(5, A)}, []int{0, 2}, []int{4}},
		{"answer seen first", []models.Packet{reply(1, S|A), request(2, A)}, nil, nil},
		{"mid-stream", []models.Packet{request(1, A), reply(2, A), request(3, A)}, []int{0}, []int{1}},
		{"a reset opens nothing", []models.Packet{request(1, R)}, nil, nil},
		{"datagrams", []models.Packet{packet(1, "10.0.0.1", 40000, "10.0.0.2", 53, models.ProtoUDP, 0), packet(2, "10.0.0.2", 53, "10.0.0.1", 40000, models.ProtoUDP, 0), packet(3, "10.0.0.2", 53, "10.0.0.1", 40000, models.ProtoUDP, 0)}, []int{0}, []int{1}},
		{"a service's datagram", []models.Packet{packet(1, "10.0.0.2", 53, "10.0.0.1", 40000, models.ProtoUDP, 0), packet(2, "10.0.0.1", 40000, "10.0.0.2", 53, models.ProtoUDP, 0)}, nil, nil},
		{"echo", []models.Packet{icmp(1, "10.0.0.1", "10.0.0.2", 8), icmp(2, "10.0.0.2", "10.0.0.1", 0)}, []int{0}, []int{1}},
		{"an error over ICMP", []models.Packet{icmp(1, "10.0.0.1", "10.0.0.2", 3)}, nil, nil},
		{"after the time-out", []models.Packet{request(1, S), request(40_000_001, S)}, []int{0, 1}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			newTable(t, Options{}).Update(tc.ps, nil)
			var begins, through []int
			for i := range tc.ps {
				if tc.ps[i].ConnNew {
					begins = append(begins, i)
				}
				if tc.ps[i].ConnEstablished {
					through = append(through, i)
				}
			}
			if d := cmp.Diff([][]int{tc.new, tc.established}, [][]int{begins, through}); d != "" {
				t.Errorf("conn_new, conn_established (-want +got)\n%s", d)
			}
		})
	}
}
