package flow

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"netlyra/internal/models"
)

// goHello is a real ClientHello of Go's TLS client, post-quantum key share included: over 1,500 bytes.
func goHello(t testing.TB, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer func() { _ = server.Close() }()
	go func() {
		c := tls.Client(client, &tls.Config{ServerName: name, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12})
		_ = c.HandshakeContext(context.Background())
	}()
	b := make([]byte, 1<<16)
	n := 0
	for n < 5 || n < 5+int(b[3])<<8+int(b[4]) {
		m, err := server.Read(b[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	return b[:n]
}

// segments cuts b into TCP segments of size bytes from the initiator, the first with sequence number isn+1.
func segments(b []byte, isn uint32, size int) []models.Packet {
	var ps []models.Packet
	for at := 0; at < len(b); at += size {
		p := request(int64(10+at), models.ACK|models.PSH)
		p.Payload = b[at:min(at+size, len(b))]
		p.PayloadLen = uint32(len(p.Payload))
		p.Seq = isn + 1 + uint32(at)
		ps = append(ps, p)
	}
	return ps
}

func TestHelloInAnySegmentation(t *testing.T) {
	hello := goHello(t, "www.example.com")
	if len(hello) < 1500 {
		t.Fatalf("a hello of %d bytes: it should not fit one segment", len(hello))
	}
	want, _, status := parseHello(hello)
	if status != helloWhole || want.SNI != "www.example.com" || !strings.HasPrefix(want.JA4, "t13d") {
		t.Fatalf("%v %+v", status, want)
	}
	twoRecords := slices.Concat([]byte{22, 3, 1, 0, 100}, hello[5:105], []byte{22, 3, 1, byte((len(hello) - 105) >> 8), byte(len(hello) - 105)}, hello[105:])
	rng := rand.New(rand.NewPCG(1, 1))
	for _, tc := range []struct {
		name    string
		stream  []byte
		size    int
		shuffle bool
	}{
		{"one segment", hello, 1 << 16, false},
		{"two segments", hello, 1448, false},
		{"byte by byte", hello, 1, false},
		{"out of order", hello, 400, true},
		{"two records", twoRecords, 300, false},
		{"data behind it", append(slices.Clone(hello), make([]byte, 5000)...), 1000, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const isn = 0xfffffff0 // sequence numbers wrap within the hello
			table := newTable(t, Options{Records: 10})
			syn := request(1, models.SYN)
			syn.Seq = isn
			data := segments(tc.stream, isn, tc.size)
			if tc.shuffle {
				rng.Shuffle(len(data), func(i, j int) { data[i], data[j] = data[j], data[i] })
			}
			ps := append([]models.Packet{syn}, data...)
			arena := table.Update(ps, nil)
			found := 0
			for _, p := range ps {
				if p.JA4.Len > 0 {
					found++
					if string(p.SNI.In(arena)) != want.SNI || string(p.JA4.In(arena)) != want.JA4 {
						t.Errorf("packet says %q %q", p.SNI.In(arena), p.JA4.In(arena))
					}
				}
			}
			table.Flush(1 << 30)
			if r := table.Drain()[0]; r.Hello != want || found != 1 {
				t.Errorf("record %+v, on %d packets, want %+v on 1", r.Hello, found, want)
			}
			if len(table.buffers.all) != len(table.buffers.free) {
				t.Error("a buffer was not given back")
			}
		})
	}
}

func TestHelloBuffersAreBounded(t *testing.T) {
	table := newTable(t, Options{})
	hello := goHello(t, "a.example")
	for i := range 2 * maxBuffers {
		p := segments(hello, 0, 500)[0]
		p.SrcPort = uint16(i)
		table.Update([]models.Packet{p}, nil)
	}
	if n := len(table.buffers.all); n != maxBuffers {
		t.Errorf("%d buffers", n)
	}
	if c := table.Counters(); c.HelloBuffers != maxBuffers {
		t.Errorf("%d hellos counted as not assembled, want %d", c.HelloBuffers, maxBuffers)
	}
}

// The hellos that FoxIO's JA4 documentation gives as its examples, as their lists of values.
func TestJA4PublishedVectors(t *testing.T) {
	chrome := clientHello{
		version: 0x0304, hasSNI: true, alpn: []byte("h2"),
		ciphers:    []uint16{0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035},
		extensions: []uint16{0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015},
		signatures: []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601},
	}
	for _, tc := range []struct {
		name  string
		hello clientHello
		want  string
	}{
		{"Chrome", chrome, "t13d1516h2_8daaf6152771_e5627efa2ab1"},
		{"no ALPN, no SNI", clientHello{version: 0x0303, ciphers: chrome.ciphers, extensions: []uint16{0x000a}}, "t12i150100_8daaf6152771_" + shortHash("000a")},
		{"empty", clientHello{}, "t00i000000_000000000000_000000000000"},
		{"ALPN not alphanumeric", clientHello{version: 0x0304, alpn: []byte{0xab, 0xcd}}, "t13i0000ad_000000000000_000000000000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.hello.ja4(); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// The example connections of the Community ID specification.
func TestCommunityIDPublishedVectors(t *testing.T) {
	for _, tc := range []struct {
		src, dst         string
		srcPort, dstPort uint16
		proto            models.Proto
		want             string
	}{
		{"128.232.110.120", "66.35.250.204", 34855, 80, models.ProtoTCP, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
		{"66.35.250.204", "128.232.110.120", 80, 34855, models.ProtoTCP, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
		{"192.168.1.52", "8.8.8.8", 54585, 53, models.ProtoUDP, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="},
		{"192.168.0.89", "192.168.0.1", 8, 0, models.ProtoICMP, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="},
		{"fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea", 135, 136, models.ProtoICMPv6, "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="},
		{"192.168.170.8", "192.168.170.56", 7, 80, models.ProtoSCTP, "1:jQgCxbku+pNGw8WPbEc/TS/uTpQ="},
	} {
		t.Run(tc.want, func(t *testing.T) {
			if got := CommunityID(ip(tc.src), ip(tc.dst), tc.srcPort, tc.dstPort, tc.proto); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func FuzzHello(f *testing.F) {
	f.Add(goHello(f, "www.example.com"), uint16(100))
	f.Fuzz(func(t *testing.T, stream []byte, size uint16) {
		h, _, status := parseHello(stream)
		if status == helloWhole && (len(h.JA4) != 36 || len(h.SNI) > 255) {
			t.Fatalf("%+v", h)
		}
		if len(stream) == 0 || len(stream) > maxHello/2 || size == 0 {
			return
		}
		table, err := New(Options{MaxConnections: 4, Records: 4})
		if err != nil {
			t.Fatal(err)
		}
		table.OpenSlot(0)
		table.Update(segments(stream, 5, int(size)), nil)
		table.Flush(1 << 30)
		if r := table.Drain(); status == helloWhole && r[0].Hello != h {
			t.Fatalf("in segments %+v, in one piece %+v", r[0].Hello, h)
		}
	})
}
