package pipeline

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"netlyra/internal/capture"
	"netlyra/internal/decode"
	"netlyra/internal/models"
	"netlyra/internal/nettest"
)

// tuple is a bidirectional 5-tuple in tshark's way of writing: "TCP 10.0.0.1:80 10.0.0.2:4000", the smaller end first.
type tuple string

func tupleOf(proto string, a, b netip.AddrPort) tuple {
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return tuple(proto + " " + a.String() + " " + b.String())
}

// seen is what one reading of a file found.
type seen struct {
	packets, bytes uint64
	tuples         map[tuple]bool // of TCP and UDP
	tunnels        bool           // some packet came through one
}

// ours reads a file with our reader and decoder.
func ours(path string) (seen, error) {
	s := seen{tuples: map[tuple]bool{}}
	f, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		return s, err
	}
	defer func() { _ = f.Close() }()
	var (
		b models.Batch
		d decode.Decoder
		p models.Packet
	)
	for {
		err := f.Read(&b)
		for i := range b.Frames {
			s.packets++
			s.bytes += uint64(b.Frames[i].WireLen)
			d.Reset()
			v := d.Frame(&b.Frames[i], &p)
			s.tunnels = s.tunnels || p.Nesting > 0
			if v != decode.OK || p.Proto != models.ProtoTCP && p.Proto != models.ProtoUDP || p.Frag == models.FragLater {
				continue
			}
			t := tupleOf(p.Proto.String(), netip.AddrPortFrom(p.Src.Netip(), p.SrcPort), netip.AddrPortFrom(p.Dst.Netip(), p.DstPort))
			s.tuples[t] = true
		}
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return s, err
		}
	}
}

// tshark reads a file with tshark: every frame's length, and for each packet the addresses and ports of all its layers, the
// outermost first.
func tshark(t *testing.T, path string) (s seen, quoted map[tuple]bool) {
	t.Helper()
	// Neither reassembly nor heuristics, so that every packet speaks for itself.
	cmd := exec.CommandContext(t.Context(), "tshark", "-n", "-r", path, "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE",
		"-T", "fields", "-E", "separator=|", "-E", "occurrence=a", "-e", "frame.len", "-e", "ip.src", "-e", "ip.dst", "-e", "ipv6.src", "-e", "ipv6.dst",
		"-e", "tcp.srcport", "-e", "tcp.dstport", "-e", "udp.srcport", "-e", "udp.dstport", "-e", "icmp.type", "-e", "icmpv6.type")
	out, err := cmd.Output()
	if err != nil && len(out) == 0 {
		return s, nil
	}
	s.tuples, quoted = map[tuple]bool{}, map[tuple]bool{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "|")
		if len(f) != 11 {
			continue
		}
		s.packets++
		s.bytes += number(f[0])
		src, dst := list(f[1]), list(f[2])
		src6, dst6 := list(f[3]), list(f[4])
		for k, proto := range []string{"TCP", "UDP"} {
			sp, dp := list(f[5+2*k]), list(f[6+2*k])
			for i := range min(len(sp), len(dp)) {
				// Every pair of addresses of the packet: which belongs to which ports cannot be told from this list.
				for j := range min(len(src), len(dst)) {
					addTuple(s.tuples, quoted, proto, src[j], dst[j], sp[i], dp[i], f[9] != "" || f[10] != "")
				}
				for j := range min(len(src6), len(dst6)) {
					addTuple(s.tuples, quoted, proto, src6[j], dst6[j], sp[i], dp[i], f[9] != "" || f[10] != "")
				}
			}
		}
	}
	return s, quoted
}

func addTuple(all, quoted map[tuple]bool, proto, src, dst, sp, dp string, inError bool) {
	a, err1 := netip.ParseAddr(src)
	b, err2 := netip.ParseAddr(dst)
	if err1 != nil || err2 != nil {
		return
	}
	t := tupleOf(proto, netip.AddrPortFrom(a.Unmap(), uint16(number(sp))), netip.AddrPortFrom(b.Unmap(), uint16(number(dp))))
	if inError {
		quoted[t] = true
		return
	}
	all[t] = true
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func number(s string) (n uint64) {
	for _, c := range s {
		n = n*10 + uint64(c-'0')
	}
	return n
}

// conversations asks tshark for its own list of conversations.
func conversations(t *testing.T, path string) map[tuple]bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "tshark", "-n", "-q", "-r", path, "-z", "conv,tcp", "-z", "conv,udp").Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	all := map[tuple]bool{}
	proto := ""
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		line := lines.Text()
		if name, ok := strings.CutSuffix(line, " Conversations"); ok {
			proto = name
		}
		f := strings.Fields(line)
		if len(f) < 3 || f[1] != "<->" {
			continue
		}
		a, b := end(f[0]), end(f[2])
		if a.IsValid() && b.IsValid() {
			all[tupleOf(proto, a, b)] = true
		}
	}
	return all
}

// end reads tshark's "2001:db8::1:443" and "10.0.0.1:80".
func end(s string) netip.AddrPort {
	at := strings.LastIndexByte(s, ':')
	if at < 0 {
		return netip.AddrPort{}
	}
	a, err := netip.ParseAddr(s[:at])
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(number(s[at+1:])))
}

func needTshark(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		nettest.Unavailable(t, "apt-get install tshark")
	}
}

func minus(a, b map[tuple]bool) []tuple {
	var rest []tuple
	for t := range a {
		if !b[t] {
			rest = append(rest, t)
		}
	}
	slices.Sort(rest)
	return rest
}

// On captures without tunnels, fragments and quoted headers the set of 5-tuples is tshark's list of conversations.
func TestSampleEqualsTsharksConversations(t *testing.T) {
	needTshark(t)
	path := "../../demo/sample.pcap.zst"
	got, err := ours(path)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := tshark(t, path)
	if got.packets != want.packets || got.bytes != want.bytes || got.packets < 10_000 {
		t.Errorf("%d packets, %d bytes; tshark has %d, %d", got.packets, got.bytes, want.packets, want.bytes)
	}
	conv := conversations(t, path)
	if more, less := minus(got.tuples, conv), minus(conv, got.tuples); len(more)+len(less) > 0 || len(conv) < 1000 {
		t.Errorf("of %d conversations %d are not tshark's, %d are missing: %v %v", len(conv), len(more), len(less), head(more), head(less))
	}
}

func head(ts []tuple) []tuple { return ts[:min(len(ts), 8)] }

// differences are the files in which the sets differ for a reason of their own.
func differences() map[string]string {
	const (
		big     = "BIG TCP: a length of 0 in the IP header, which this version of tshark does not follow into"
		beyond  = "an encapsulation that we do not look into: the outer packet counts"
		another = "addresses of one layer with the ports of another, in the list that the test makes of tshark's fields"
		header  = "a length field of the transport header is impossible: we call the packet malformed"
	)
	return map[string]string{
		"bigtcp-ipv4-geneve-ipv4.pcap": big, "bigtcp-ipv4-geneve-ipv6.pcap": big, "bigtcp-ipv4-vxlan-ipv4.pcap": big,
		"bigtcp-ipv4-vxlan-ipv6.pcap": big, "bigtcp-ipv6-geneve-ipv4.pcap": big, "bigtcp-ipv6-geneve-ipv6.pcap": big,
		"bigtcp-ipv6-vxlan-ipv4.pcap": big, "bigtcp-ipv6-vxlan-ipv6.pcap": big, "bigtcp-ipv6.pcap": big,
		"erspan-type-ii-2.pcap": beyond, "macsec-short-longer.pcap": beyond, "macsec-short-shorter.pcap": beyond,
		"macsec-short-valid.pcap": beyond, "nsh-over-vxlan-gpe.pcap": beyond, "nsh.pcap": beyond, "of13_ericsson.pcapng": beyond,
		"pim-packet-assortment.pcap": beyond, "sflow_expanded.pcap": beyond, "wccp_redirect_gre.pcap": beyond,
		"sflow-print-v6.pcap":          another,
		"tcp_header_heapoverflow.pcap": header,
		"udp-length-heapoverflow.pcap": header,
	}
}

// On every collected capture packets and bytes are tshark's, and every 5-tuple of ours is one that tshark sees in the same file.
// The other way round, what tshark has and we do not is the outside of a tunnel or a header quoted in an ICMP error; files with another
// reason are those of differences, and must differ.
func TestCollectedCapturesEqualTshark(t *testing.T) {
	needTshark(t)
	if testing.Short() {
		t.Skip("reads 850 files with tshark; run without -short")
	}
	files, err := filepath.Glob(filepath.Join(nettest.Shared(t, "captures"), "*", "*.pcap*"))
	if err != nil {
		t.Fatal(err)
	}
	work := make(chan string)
	var wg sync.WaitGroup
	var mu sync.Mutex
	read, tuples := 0, map[tuple]bool{}
	for range 2 {
		wg.Go(func() {
			for path := range work {
				got, err := ours(path)
				if err != nil {
					continue // package capture's tests say which files those are
				}
				want, quoted := tshark(t, path)
				if want.tuples == nil {
					continue
				}
				if got.packets != want.packets || got.bytes != want.bytes {
					t.Errorf("%s: %d packets, %d bytes; tshark has %d, %d", path, got.packets, got.bytes, want.packets, want.bytes)
				}
				known := maps.Clone(want.tuples)
				maps.Copy(known, quoted)
				more, less := minus(got.tuples, known), minus(want.tuples, got.tuples)
				if got.tunnels {
					less = nil
				}
				if reason := differences()[filepath.Base(path)]; reason != "" {
					if len(more)+len(less) == 0 {
						t.Errorf("%s no longer differs: %s", path, reason)
					}
				} else if len(more)+len(less) > 0 {
					t.Errorf("%s: tshark does not have %v, only tshark has %v", path, head(more), head(less))
				}
				mu.Lock()
				read++
				maps.Copy(tuples, got.tuples)
				mu.Unlock()
			}
		})
	}
	for _, f := range files {
		work <- f
	}
	close(work)
	wg.Wait()
	t.Logf("%d files, %d distinct 5-tuples", read, len(tuples))
}
