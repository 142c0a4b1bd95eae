package traffic

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/decode"
	"netlyra/internal/models"
	"netlyra/internal/nettest"
)

// everything is an office in which all families play, one after the other.
func everything(seed uint64, d time.Duration) Options {
	o := Options{Seed: seed, Duration: d, Changing: true, PeerToPeer: true}
	for i, f := range Families() {
		o.Plays = append(o.Plays, Play{f.Name, time.Duration(i) * 100 * time.Millisecond, seed + uint64(i)})
	}
	return o
}

// each calls visit for every frame of a stream.
func each(t testing.TB, o Options, visit func(f *models.Frame, owner uint16)) *Stream {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	var b models.Batch
	for {
		err := s.Read(&b)
		for i := range b.Frames {
			visit(&b.Frames[i], s.Owners()[i])
		}
		if errors.Is(err, io.EOF) {
			return s
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestSameSeedSameStream(t *testing.T) {
	sum := func(seed uint64) string {
		h := sha256.New()
		each(t, everything(seed, 8*time.Second), func(f *models.Frame, owner uint16) {
			var head [10]byte
			binary.BigEndian.PutUint64(head[:], uint64(f.TS))
			binary.BigEndian.PutUint16(head[8:], owner)
			_, _ = h.Write(head[:])
			_, _ = h.Write(f.Data)
		})
		return string(h.Sum(nil))
	}
	first := sum(1)
	if first != sum(1) {
		t.Error("two readings of one seed differ")
	}
	if first == sum(2) {
		t.Error("another seed gives the same")
	}
}

// Frames come in the order of their times, within the stream's, and the labels say exactly whose each is.
func TestOrderAndLabels(t *testing.T) {
	type span struct {
		First, Last models.Micros
		Packets     uint64
	}
	o := everything(3, 10*time.Second)
	seen := make([]span, len(o.Plays)+1)
	last := int64(DefaultStart)
	s := each(t, o, func(f *models.Frame, owner uint16) {
		if f.TS < last {
			t.Fatalf("a frame of %d after one of %d", f.TS, last)
		}
		last = f.TS
		m := &seen[owner]
		if m.Packets == 0 {
			m.First = models.Micros(f.TS)
		}
		m.Last = models.Micros(f.TS)
		m.Packets++
	})
	if end := DefaultStart + o.Duration.Microseconds(); last > end {
		t.Errorf("the last frame is of %d, the stream ends at %d", last, end)
	}
	if seen[0].Packets == 0 {
		t.Error("the office is silent")
	}
	labelled := map[string]span{}
	for _, l := range s.Labels() {
		labelled[l.Family.Name] = span{l.Start, l.End, l.Packets}
	}
	for i, p := range o.Plays {
		if d := cmp.Diff(seen[i+1], labelled[p.Family]); d != "" {
			t.Errorf("%s: label (-seen +labelled)\n%s", p.Family, d)
		}
	}
}

// Every family sends, says truly who is in it, is over in its time, and what it sends decodes.
func TestFamilies(t *testing.T) {
	seeds, most := uint64(3), 20*time.Minute
	if testing.Short() {
		seeds, most = 1, 3*time.Second
	}
	for _, f := range Families() {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			for seed := range seeds {
				var (
					d      decode.Decoder
					p      models.Packet
					hosts  = map[netip.Addr]bool{}
					length = min(f.Length+time.Minute, most)
				)
				s := each(t, Options{Seed: seed, Duration: length, NoOffice: true, Plays: []Play{{f.Name, 0, seed}}}, func(f *models.Frame, _ uint16) {
					d.Reset()
					switch v := d.Frame(f, &p); {
					case v.Malformed():
						t.Fatalf("seed %d: %v: %x", seed, v, f.Data)
					case v == decode.OK:
						hosts[p.Src.Netip()], hosts[p.Dst.Netip()] = true, true
					}
				})
				if len(s.Labels()) != 1 {
					t.Fatalf("seed %d: nothing is sent", seed)
				}
				l := s.Labels()[0]
				for _, group := range l.Hosts {
					if !slices.ContainsFunc(group, func(a string) bool { return hosts[netip.MustParseAddr(a)] }) {
						t.Errorf("seed %d: no packet is of %v", seed, group)
					}
				}
				if f.Attack && (len(l.Hosts) == 0 || len(f.Categories) == 0) {
					t.Errorf("seed %d: an attack without hosts or categories: %+v", seed, l)
				}
				if end := l.Start + models.Micros(f.Length.Microseconds()); l.End > end && f.Length < length {
					t.Errorf("seed %d: goes on until %v after its start, %v are given", seed, time.Duration(l.End-l.Start)*time.Microsecond, f.Length)
				}
			}
		})
	}
}

// guessed are protocols that tshark takes random bytes for, by a port or by their first few: what it says of them is not looked at.
func guessed(protocols string) bool {
	spoken := []string{
		"arp", "ip", "ipv6", "icmp", "icmpv6", "tcp", "udp", "dns", "mdns", "llmnr", "tls", "http", "ssh", "ftp", "ftp-data", "kerberos", "dhcp", "ntp",
		"ssdp", "quic", "vrrp", "stun", "nbss", "smb2", "tpkt", "cotp", "pgsql",
	}
	layers := strings.Split(strings.TrimSuffix(protocols, ":_ws.malformed"), ":")
	return !slices.Contains(spoken, layers[len(layers)-1])
}

// TestTshark has tshark dissect the beginning of every family, and some of the office: all checksums hold and nothing is malformed.
func TestTshark(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds: run without -short")
	}
	if _, err := exec.LookPath("tshark"); err != nil {
		nettest.Unavailable(t, "tshark is missing: apt-get install tshark")
	}
	path := filepath.Join(t.TempDir(), "all.pcap")
	owners := writeBeginnings(t, path, everything(5, 10*time.Minute), 700)
	const checksums = "ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || icmp.checksum.status == 0 || " +
		"icmpv6.checksum.status == 0 || vrrp.checksum.status == 0"
	for _, line := range tshark(t, path, checksums) {
		t.Errorf("checksum: %s: frame %v", owners[frameNumber(t, line)-1], line)
	}
	for _, line := range tshark(t, path, `_ws.malformed || _ws.expert.severity == "Error" || quic.decryption_failed && quic.long.packet_type == 0`) {
		owner := owners[frameNumber(t, line)-1]
		if anyPort := []string{"flood_udp", "flood_ipv6", "scan_udp"}; !slices.Contains(anyPort, owner) && !guessed(line[1]) { // those send noise to known ports
			t.Errorf("%s: frame %v", owner, line)
		}
	}
	if n := len(tshark(t, path, "quic.crypto.offset && tls.handshake.extensions_server_name")); n == 0 {
		t.Error("tshark opens no first packet of a QUIC connection")
	}
}

func frameNumber(t *testing.T, line []string) int {
	t.Helper()
	n, err := strconv.Atoi(line[0])
	if err != nil {
		t.Fatalf("tshark printed %q", line)
	}
	return n
}

// tshark prints number, protocols and complaints of the frames that a filter lets through.
func tshark(t *testing.T, path, filter string) (lines [][]string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "tshark", "-n", "-r", path, "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE",
		"-o", "udp.check_checksum:TRUE", "-Y", filter, "-T", "fields", "-e", "frame.number", "-e", "frame.protocols", "-e", "_ws.expert.message")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v: %s", err, &complaints)
	}
	for line := range strings.Lines(string(out)) {
		lines = append(lines, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return lines
}

// writeBeginnings writes the first frames of each play, and as many of the office times ten, and returns whose each frame is.
func writeBeginnings(t *testing.T, path string, o Options, most int) (owners []string) {
	t.Helper()
	var out bytes.Buffer
	empty, err := New(Options{Duration: time.Microsecond, NoOffice: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := empty.WritePcap(&out); err != nil { // the header
		t.Fatal(err)
	}
	left := make([]int, len(o.Plays)+1)
	for i := range left {
		left[i] = most
	}
	left[0] *= 10
	each(t, o, func(f *models.Frame, owner uint16) {
		if left[owner]--; left[owner] < 0 {
			return
		}
		for _, v := range []int{int(f.TS / 1e6), int(f.TS % 1e6), len(f.Data), len(f.Data)} {
			out.Write(binary.LittleEndian.AppendUint32(nil, uint32(v)))
		}
		out.Write(f.Data)
		name := "office"
		if owner > 0 {
			name = o.Plays[owner-1].Family
		}
		owners = append(owners, name)
	})
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return owners
}

// A changing office comes and goes with its people, gives no address twice, and keeps nothing of what is over.
func TestTwoDays(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds: run without -short")
	}
	perHour := map[int64]int{}
	largest := 0
	s, err := New(Options{Seed: 6, Duration: 30 * time.Hour, Changing: true})
	if err != nil {
		t.Fatal(err)
	}
	for b := (models.Batch{}); err == nil; {
		err = s.Read(&b)
		for i := range b.Frames {
			perHour[b.Frames[i].TS%day/hour]++
		}
		largest = max(largest, len(s.heap))
	}
	if day, night := perHour[10]+perHour[14], perHour[1]+perHour[3]; day < 5*night || night == 0 {
		t.Errorf("%d packets in two hours by day, %d in two by night", day, night)
	}
	if largest > 2000 {
		t.Errorf("%d scripts at the same time", largest)
	}
	addresses := map[[4]byte]string{}
	for _, h := range s.world.inside {
		if other, taken := addresses[h.v4]; taken {
			t.Errorf("%s and %s have one address, %v", h.name, other, h.v4)
		}
		addresses[h.v4] = h.name
	}
	if len(s.world.inside) <= defaultHosts-1 {
		t.Error("nobody has joined")
	}
}

// A capture and its labels have the form that the development captures have.
func TestWriteLabels(t *testing.T) {
	s, err := New(Options{Seed: 1, Duration: 2 * time.Minute, NoOffice: true, Plays: []Play{{"scan_top100", time.Second, 1}, {"game", 0, 1}}})
	if err != nil {
		t.Fatal(err)
	}
	packets, err := s.WritePcap(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.WriteLabels(&out, "x.pcap"); err != nil {
		t.Fatal(err)
	}
	var f labelFile
	if err := json.Unmarshal(out.Bytes(), &f); err != nil {
		t.Fatal(err)
	}
	if f.Packets != packets || len(f.Attacks) != 1 || len(f.Benign) != 1 || f.Attacks[0].Packets+f.Benign[0].Packets != packets {
		t.Errorf("%d packets are written, labelled are %+v", packets, f)
	}
	if a := f.Attacks[0]; a.Family != "scan_top100" || a.Start < f.Base+1 || a.End > f.Base+f.Length || len(a.Hosts) != 1 {
		t.Errorf("the attack is labelled %+v", a)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"no duration", Options{}, "duration"},
		{"too few hosts", Options{Duration: time.Second, Hosts: 2}, "hosts"},
		{"too many hosts", Options{Duration: time.Second, Hosts: 2000}, "hosts"},
		{"unknown family", Options{Duration: time.Second, Plays: []Play{{Family: "flood_tea"}}}, "flood_tea"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one about %s", err, tt.want)
			}
		})
	}
}

// Close ends a stream early, and its scripts with it.
func TestClose(t *testing.T) {
	s, err := New(everything(1, time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var b models.Batch
	if err := s.Read(&b); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Read(&b); !errors.Is(err, io.EOF) || len(s.heap) != 0 {
		t.Errorf("after Close: %v, %d scripts", err, len(s.heap))
	}
}

// BenchmarkStream is an office at work, a packet an operation.
func BenchmarkStream(b *testing.B) {
	s, err := New(Options{Seed: 1, Duration: 10_000 * time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	b.ReportAllocs()
	var batch models.Batch
	var octets int64
	n := 0
	for b.Loop() {
		if n == 0 {
			if err := s.Read(&batch); err != nil {
				b.Fatal(err)
			}
			n = len(batch.Frames)
			for _, f := range batch.Frames {
				octets += int64(len(f.Data))
			}
		}
		n--
	}
	b.ReportMetric(float64(octets)/float64(b.N), "B/packet")
}
