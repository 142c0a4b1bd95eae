package filter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"netlyra/internal/capture"
	"netlyra/internal/models"
	"netlyra/internal/nettest"
)

// expressions are what both compilers are given. Everything that docs/filter.md describes is among them.
func expressions() []string {
	return strings.Split(strings.TrimSpace(`
ip
ip6
arp
rarp
tcp
udp
icmp
icmp6
sctp
igmp
pim
ah
esp
not ip
!ip
!!ip
not not arp
ip or ip6
ip || arp
ip and tcp
ip && udp
tcp or udp
tcp and udp
ip and tcp && udp || !arp
(ip)
((ip) and (tcp or udp))
not (tcp or udp)
not (ip and tcp) and not arp
tcp and not port 22
host 10.1.2.3
ip host 10.1.2.3
arp host 10.1.2.3
rarp host 192.168.1.77
src 10.1.2.3
dst 10.1.2.3
src host 10.1.2.3
dst host 192.168.1.77
src or dst host 10.1.2.3
dst or src host 10.1.2.3
src and dst host 10.1.2.3
ip src 10.1.2.3
ip dst host 192.168.1.77
arp src 10.1.2.3
arp dst host 192.168.1.77
not host 10.1.2.3
host 10.1.2.3 or 192.168.1.77
host 10.1.2.3 and 192.168.1.77
host 10.1.2.3 and not 192.168.1.77
host (10.1.2.3 or 172.16.5.5)
host (10.1.2.3 and not 192.168.1.77)
host 10.1.2.3 or (172.16.5.5)
src host 10.1.2.3 and dst host 192.168.1.77
src 10.1.2.3 or dst 10.1.2.4 or src 172.16.5.5
host 0.0.0.0
host 255.255.255.255
host 2001:db8::1
ip6 host 2001:db8::1
src 2001:db8::1
dst host 2001:db8:1::2
src and dst host ::1
src host ::
host ::ffff:10.1.2.3
host 2001:db8::1 or host 10.1.2.3
not ip6 host 2001:db8::1
net 10
net 192.168
net 10.1.2
net 10.1.2.3
net 10.0.0.0/8
net 10.1.2.0/24
net 10.1.2.3/32
net 0.0.0.0/0
net 128.0.0.0/1
net 192.168.0.0 mask 255.255.0.0
net 10.0 mask 255.0
src net 10
dst net 192.168.1.0/24
src and dst net 10.0.0.0/8
ip net 10
arp net 10.0.0.0/8
ip net 10.0.0.0/8 or 192.168.0.0/16
src net 10.0.0.0/8 and not dst net 10.0.0.0/8
net (10.0.0.0/8 or 172.16.0.0/12)
net 2001:db8::/32
ip6 net 2001:db8::/40
src net fe80::/10
dst net 2001:db8:1::/48
net ::/0
net 2001:db8::1
net 2002::/16 or 2001:db8:ffff::/48
port 80
port 53
src port 80
dst port 80
src or dst port 80
src and dst port 80
tcp port 80
udp port 53
sctp port 80
tcp src port 443
udp dst port 5353
tcp dst port 80
not port 80
port 80 or 443
port 80 or port 443
port (80 or 443)
port not 80
port !80
port 80 or not 443
port 80 or (443 or 22)
port 80 and (not 443 and not 53)
not port 80 or 443
tcp port 80 or 443 and udp port 53 or 54
udp dst port 53 or 85
port 0
port 65535
port 0x50
port 0120
portrange 80-85
portrange 85-80
portrange 80
portrange 0-1023
tcp portrange 80-443
udp portrange 50-100
src portrange 22-80
dst portrange 40000-65535
not portrange 80-443
portrange 20-25 or 80-90
host 10.1.2.3 and port 80
host 10.1.2.3 and tcp port 80 and not src port 443
src 10.1.2.3 and (dst port 80 or dst port 443)
(host 10.1.2.3 or host 192.168.1.77) and (port 80 or 53)
tcp port 80 and (host 10.1.2.3 or net 172.16.0.0/12)
not (host 10.1.2.3 and port 80)
proto 6
proto \udp
proto 0
ip proto 6
ip proto \tcp
ip proto 47
ip proto \sctp
ip6 proto 6
ip6 proto \udp
ip6 proto 44
ip6 proto 0
ether proto 0x0800
ether proto \ip6
ether proto \arp
ether proto 0x88cc
ether proto 0x8847
ether proto 0x8864
not ether proto \ip
ether host 02:00:00:00:00:01
ether src 02:00:00:00:00:01
ether dst 02:00:00:00:00:02
ether src host 2:0:0:0:0:1
ether dst host 02-00-00-00-00-02
ether host 0200.0000.0001
ether src and dst 02:00:00:00:00:01
ether host 02:00:00:00:00:02 or FF:ff:ff:ff:ff:ff
link host 02:00:00:00:00:02
not ether dst 02:00:00:00:00:02
broadcast
ether broadcast
multicast
ether multicast
link multicast
ip multicast
ip6 multicast
not broadcast and not multicast
ether broadcast and arp
vlan
vlan 5
vlan 6
vlan (7)
vlan 0
vlan 4095
not vlan
vlan and ip
vlan 5 and tcp
vlan and host 10.1.2.3
vlan 5 and port 80
vlan and vlan
vlan 5 and vlan 100
vlan 5 and vlan 100 and tcp port 80
vlan and vlan and vlan and udp
vlan or ip
ip or vlan
ip or (vlan and ip)
(vlan and tcp) or udp
port 80 or (vlan and port 80)
port 80 or (vlan and (port 80 or (vlan and port 80)))
not vlan and ip
vlan 5 or vlan 100
vlan and ip[8] = 64
vlan and icmp6[0] = 128
vlan and tcp[13] & 2 != 0
vlan and ether[12:2] = 0x8100
vlan and ether src 02:00:00:00:00:01
less 60
greater 100
less 0x40
greater 060
len > 100
len <= 60
len = 54
len != 54
len < 60 or len >= 1000
60 > len
len - 14 > 60
len & 1 = 0
ether[0] & 1 = 1
((1) = 1)
((ip[8]) > (ip[9]))
tcp and ((ip[8] & 1) = 0 or (len) > 60)
ether[0] & 1 != 0
ether[12:2] = 0x0800
ether[6:4] = 0x02000000
link[13] = 0
ip[0] & 0xf != 5
ip[0] = 0x45
ip[8] < 65
ip[9] = 6
ip[2:2] > 40
ip[2:2] >= 48
ip[12:4] = 0x0a010203
ip[16] >= 224
ip[6:2] & 0x1fff != 0
ip[6] & 0x20 != 0 or ip[6:2] & 0x1fff != 0
ip[6:2] & 0x3fff = 0
ip6[6] = 6
ip6[4:2] > 20
ip6[8:4] = 0x20010db8
ip6[40] = 128
arp[6:2] = 1
arp[7] = 2
rarp[7] = 1
tcp[13] & 2 != 0
tcp[13] = 2
tcp[tcpflags] & tcp-syn != 0
tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn
tcp[tcpflags] & (tcp-syn|tcp-fin) != 0
tcp[tcpflags]==tcp-syn
tcp[tcpflags] & tcp-rst = tcp-rst or tcp[tcpflags] & tcp-fin != 0
tcp[0:2] = 80
tcp[2:2] = 80 and ip
tcp[12] >> 4 = 5
tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420
udp[4:2] = 16
udp[8:4] = 0x01020304
udp[8:4]=1 or udp port 53
sctp[12] = 1
icmp[icmptype] = icmp-echo
icmp[icmptype] != icmp-echo and icmp[icmptype] != icmp-echoreply
icmp[0] = 3 and icmp[1] = 1
icmp[icmpcode] = 0
icmp6[icmp6type] = icmp6-echo
icmp6[0] = icmp6-neighborsolicit
igmp[0] = 0x22
not tcp[13] & 2 != 0
not (tcp[13] & 2 != 0)
(ip[8] > ip[9])
ip[8] > ip[9] and ip[8] < 65
ip[0] + ip[9] = 0x4b
ip[2:2] - ((ip[0] & 0xf) << 2) > 20
ip[2:2] - ((ip[0]&0xf)<<2) - ((tcp[12]&0xf0)>>2) != 0
ip[ip[0] & 0xf] = 6
ip[ip[9]] = tcp[ip[9]]
ip[ip[8] - 60] = 0x45
ip[ip[8] - 64] = 0x45
tcp[ip[9] - 7] = 0
ether[ip[8]:2] != 0
ether[len - 1] = 0
1 + tcp[12] = 0x51
tcp[13] + ip[8] = 66
ip[8] + (ip[9] + tcp[13]) = 72
ip[8] + ether[0] = 66
ether[0] + ip6[7] = 66
ip[1 + tcp[13]] = 0
ip[8] * 2 = 128
ip[8] / 2 = 32
ip[8] % 10 = 4
ip[8] | 1 = 65
ip[8] ^ 1 = 65
ip[8] << 2 = 256
ip[8] >> 2 = 16
ip[8] << ip[9] = 4096
ip[8] >> ip[9] = 1
ip[9] / ip[1] = 1
ip[9] / ip[8] = 0
ip[8] % ip[9] = 4
-ip[8] = 0xffffffc0
ip[8] - 65 = -1
ip[8] - 65 > 5
(ip[8] + 1) * (ip[9] - 1) = 325
1 = 1
((1) = 1)
((ip[8]) > (ip[9]))
tcp and ((ip[8] & 1) = 0 or (len) > 60)
2 | 1 & 1 = 3
len + 1 > 2 * (3 + 4) << 2
port 80 or 5 = len
tcp and ip6[40:2] = 80
ether[12:2] > 1500 and not ip and not arp
ip[1] & 0xfc >> 2 = 0
`), "\n")
}

// documented are the examples of docs/filter.md: what stands in backticks at the start of a table's row.
func documented(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "filter.md"))
	if err != nil {
		t.Fatal(err)
	}
	examples, _, ok := strings.Cut(string(page), "## Where it differs")
	if !ok {
		t.Fatal("docs/filter.md has no section on differences")
	}
	var all []string
	for line := range strings.Lines(examples) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			expr, _, _ := strings.Cut(rest, "`")
			all = append(all, expr)
		}
	}
	if len(all) < 40 {
		t.Fatalf("docs/filter.md has %d examples", len(all))
	}
	return all
}

// dlt is tcpdump's name of a link type.
func dlt(link models.LinkType) string {
	return map[models.LinkType]string{
		models.LinkEthernet: "EN10MB", models.LinkRaw: "RAW", models.LinkIPv4: "IPV4", models.LinkIPv6: "IPV6",
		models.LinkSLL: "LINUX_SLL", models.LinkSLL2: "LINUX_SLL2", models.LinkNull: "NULL", models.LinkLoop: "LOOP",
	}[link]
}

func needTcpdump(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("tcpdump"); err != nil {
		nettest.Unavailable(t, "tcpdump is not installed: apt-get install tcpdump")
	}
}

// tcpdump compiles an expression. The program is nil where tcpdump says that no packet can match.
func tcpdump(t testing.TB, cmd *exec.Cmd) (m *Matcher, refused string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, stderr.String()
	}
	program, err := ReadProgram(&stdout)
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	m, err = NewMatcher(program)
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return m, ""
}

// matcher compiles an expression with the package.
func matcher(t testing.TB, expr string, link models.LinkType, o Options) (*Matcher, error) {
	t.Helper()
	program, err := Compile(expr, link, o)
	if err != nil {
		return nil, err
	}
	m, err := NewMatcher(program)
	if err != nil {
		t.Fatalf("%s: the compiled program: %v", expr, err)
	}
	return m, nil
}

const rejectsAll = "expression rejects all packets"

// intended says why a verdict on a frame may differ from tcpdump's; "" is that it must not.
func intended(f *models.Frame) string {
	if f.Link != models.LinkNull && f.Link != models.LinkLoop || len(f.Data) < 4 {
		return ""
	}
	family := binary.BigEndian.Uint32(f.Data)
	for _, v6 := range []uint32{24, 28, 30} {
		if family == v6 || family == v6<<24 {
			return "tcpdump -y knows the IPv6 family of the system that it runs on only; files come from others too: see TestNullOfFiles"
		}
	}
	if f.Link == models.LinkNull && (family == 2 || family == 10) {
		return "tcpdump knows the byte order of the file: see TestNullOfFiles"
	}
	return ""
}

// collected reads some frames of each capture that lies beside the project, none where there are no captures.
func collected(t *testing.T, link models.LinkType) []models.Frame {
	t.Helper()
	var frames []models.Frame
	for dir, most := range map[string]int{"malformed": 30, "benign": 300, "attack": 300} {
		files, err := filepath.Glob(filepath.Join(nettest.SharedDir(t), "captures", dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			frames = append(frames, firstFrames(t, file, link, most)...)
		}
	}
	return frames
}

// firstFrames reads most frames of a file at most; those of other link types are left out.
func firstFrames(t *testing.T, path string, link models.LinkType, most int) (frames []models.Frame) {
	t.Helper()
	f, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		return nil // of a link type that is not supported; package capture's tests know which
	}
	var b models.Batch
	for read := 0; err == nil && read < most; read += len(b.Frames) {
		err = f.Read(&b)
		for _, frame := range b.Frames[:min(len(b.Frames), most-read)] {
			if frame.Link == link {
				frame.Data = append([]byte(nil), frame.Data...)
				frames = append(frames, frame)
			}
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	return frames
}

// TestNullOfFiles compares on BSD loopback as files of either byte order have it: tcpdump takes the order from the file, and then
// knows the IPv6 families of the BSDs and macOS instead of Linux's.
func TestNullOfFiles(t *testing.T) {
	needTcpdump(t)
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		file := filepath.Join(t.TempDir(), "null.pcap")
		b := order.AppendUint32(nil, 0xa1b2c3d4)
		b = order.AppendUint16(order.AppendUint16(b, 2), 4)
		for _, n := range []uint32{0, 0, 1 << 18, uint32(models.LinkNull)} {
			b = order.AppendUint32(b, n)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		frames := framesOf(t, models.LinkNull)
		for i := range frames {
			if f := &frames[i]; len(f.Data) >= 4 {
				family := uint32(f.Data[0])
				if family == 10 {
					family = []uint32{24, 28, 30}[i%3]
				}
				f.Data = append(order.AppendUint32(nil, family), f.Data[4:]...)
			}
		}
		for _, expr := range []string{"ip", "ip6", "tcp port 80", "not udp", "host 10.1.2.3 or 192.168.1.77 or host 2001:db8::1", "icmp6[0] = 128"} {
			t.Run(fmt.Sprint(order, " ", expr), func(t *testing.T) {
				theirs, refused := tcpdump(t, exec.CommandContext(t.Context(), "tcpdump", "-O", "-ddd", "-r", file, "--", expr))
				if refused != "" {
					t.Fatal(refused)
				}
				ours, err := matcher(t, expr, models.LinkNull, Options{})
				if err != nil {
					t.Fatal(err)
				}
				for i := range frames {
					if got, want := ours.Match(&frames[i]), theirs.Match(&frames[i]); got != want {
						t.Fatalf("%v, want %v: % x", got, want, frames[i].Data)
					}
				}
			})
		}
	}
}

// TestAgainstTcpdump compares the verdicts of the two compilers' programs, frame by frame. What tcpdump compiles without its
// optimizer (-O) is what an expression means: there is no difference to that. The optimizer moves tests before loads
// and drops loads, so its program accepts and rejects some frames otherwise that end within their headers; on all
// others there is no difference to that one either.
func TestAgainstTcpdump(t *testing.T) {
	needTcpdump(t)
	for _, link := range []models.LinkType{
		models.LinkEthernet, models.LinkRaw, models.LinkIPv4, models.LinkIPv6, models.LinkSLL, models.LinkSLL2, models.LinkNull, models.LinkLoop,
	} {
		t.Run(dlt(link), func(t *testing.T) {
			t.Parallel()
			c := comparison{link: link, frames: append(framesOf(t, link), collected(t, link)...)}
			all := append(expressions(), documented(t)...)
			for _, expr := range all {
				c.compare(t, expr)
			}
			t.Logf("%d expressions, of which both refuse %d, on %d frames: %d verdicts, %d of them changed by tcpdump's optimizer",
				len(all), c.refused, len(c.frames), c.verdicts, c.changed)
			if link == models.LinkEthernet && c.refused > 0 {
				t.Errorf("%d expressions are refused on Ethernet", c.refused)
			}
		})
	}
}

type comparison struct {
	link     models.LinkType
	frames   []models.Frame
	refused  int // expressions that both compilers refuse for the link type
	verdicts int
	changed  int // by tcpdump's optimizer
}

func (c *comparison) compare(t *testing.T, expr string) {
	t.Helper()
	plain, refused := tcpdump(t, exec.CommandContext(t.Context(), "tcpdump", "-O", "-ddd", "-y", dlt(c.link), "--", expr))
	ours, err := matcher(t, expr, c.link, Options{})
	refuses := refused != "" && !strings.Contains(refused, rejectsAll)
	switch {
	case err != nil && refuses:
		c.refused++
		return
	case err != nil:
		t.Errorf("%s: %v, tcpdump takes it", expr, err)
		return
	case refuses:
		t.Errorf("%s: tcpdump refuses: %s", expr, refused)
		return
	}
	c.verdicts += len(c.frames)
	for i := range c.frames {
		f := &c.frames[i]
		if got, want := ours.Match(f), plain != nil && plain.Match(f); got != want && intended(f) == "" {
			t.Errorf("%s: %v, want %v for %d of %d bytes: % x", expr, got, want, len(f.Data), f.WireLen, f.Data)
			return
		}
	}
	if c.link == models.LinkEthernet { // one link type shows what the optimizer does
		c.compareOptimized(t, expr, ours)
	}
}

// compareOptimized allows differences on frames that are cut, or that end before what an index asks for.
func (c *comparison) compareOptimized(t *testing.T, expr string, ours *Matcher) {
	t.Helper()
	optimized, refused := tcpdump(t, exec.CommandContext(t.Context(), "tcpdump", "-ddd", "-y", dlt(c.link), "--", expr))
	if refused != "" && !strings.Contains(refused, rejectsAll) {
		t.Errorf("%s: tcpdump refuses: %s", expr, refused)
		return
	}
	const allHeaders = 14 + 3*tagBytes + 40 + 20 // Ethernet, three tags, IPv6, TCP
	for i := range c.frames {
		f := &c.frames[i]
		if got, want := ours.Match(f), optimized != nil && optimized.Match(f); got != want {
			c.changed++
			if len(f.Data) >= allHeaders {
				t.Errorf("%s: %v, want %v of the optimized program for %d bytes: % x", expr, got, want, len(f.Data), f.Data)
				return
			}
		}
	}
}
