package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

var update = flag.Bool("update", false, "write the golden files of docs/wire-format from the values in the test")

// goldenDir holds the records that the readers in every language are tested with.
const goldenDir = "../../docs/wire-format"

const goldenSensor = "sensor-1"

// goldenTS is 2026-11-24T05:41:33.000001Z.
const goldenTS = 1_795_498_893_000_001

func addr(s string) models.Addr {
	var b [16]byte
	if a, ok := parseAddr4([]byte(s)); ok {
		return a
	}
	copy(b[:], []byte{0x20, 0x01, 0x0d, 0xb8})
	b[15] = s[len(s)-1] - '0'
	return models.AddrFrom16(b[:])
}

// textArena collects texts as decode does.
type textArena struct{ b []byte }

func (a *textArena) text(s string) models.Text {
	t := models.Text{Off: uint32(len(a.b)), Len: uint16(len(s))}
	a.b = append(a.b, s...)
	return t
}

// goldenPackets are the packets of the golden files by name, each with the arena that its texts are in.
func goldenPackets() map[string]PacketArena {
	var arena textArena
	out := map[string]PacketArena{
		"packet-tcp": {Packet: models.PacketMeta{
			TS: goldenTS, ConnStart: goldenTS - 1_500_000, Src: addr("192.0.2.10"), Dst: addr("198.51.100.7"), SrcPort: 51234,
			DstPort: 80, Proto: models.ProtoTCP, Flags: models.ACK | models.PSH, Dir: models.DirOrig, WireLen: 583,
			PayloadLen: 517, Entropy: 51234, SrcMAC: models.MAC{2, 0, 0, 0, 0, 0x0a}, DstMAC: models.MAC{2, 0, 0, 0, 0, 0xfe},
			VLAN: 42, InnerVLAN: 7,
		}},
		"packet-syn": {Packet: models.PacketMeta{
			TS: goldenTS + 7, ConnStart: goldenTS + 7, Src: addr("192.0.2.10"), Dst: addr("198.51.100.7"), SrcPort: 51236, DstPort: 443,
			Proto: models.ProtoTCP, Flags: models.SYN, Dir: models.DirOrig, ConnNew: true, WireLen: 66,
		}},
		"packet-dns": {Packet: models.PacketMeta{
			TS: goldenTS + 1, ConnStart: goldenTS, Src: addr("2001:db8::1"), Dst: addr("2001:db8::2"), SrcPort: 53, DstPort: 40000,
			Proto: models.ProtoUDP, Dir: models.DirResp, WireLen: 120, PayloadLen: 58, Entropy: 42000, DNSAnswer: true,
			DNSRcode: 3, DNSQType: 28, DNSQuestion: arena.text("no-such-host.example.com"),
		}},
		"packet-tls": {Packet: models.PacketMeta{
			TS: goldenTS + 2, ConnStart: goldenTS, Src: addr("192.0.2.10"), Dst: addr("198.51.100.7"), SrcPort: 51235, DstPort: 443,
			Proto: models.ProtoTCP, Flags: models.ACK, Dir: models.DirOrig, WireLen: 1514, PayloadLen: 1448, Entropy: 76543,
			Nesting: 1, SNI: arena.text(`www.example.com`), JA4: arena.text("t13d1516h2_8daaf6152771_02713d6af862"),
		}},
		"packet-icmp": {Packet: models.PacketMeta{
			TS: goldenTS + 3, ConnStart: goldenTS + 3, Src: addr("192.0.2.10"), Dst: addr("198.51.100.7"), Proto: models.ProtoICMP,
			Dir: models.DirResp, ConnEstablished: true, WireLen: 98, PayloadLen: 56, Entropy: 10000,
		}},
		"packet-arp": {Packet: models.PacketMeta{
			TS: goldenTS + 4, Src: addr("192.0.2.10"), Dst: addr("192.0.2.1"), Proto: models.ProtoARP, WireLen: 42,
			SrcMAC: models.MAC{2, 0, 0, 0, 0, 0x0a}, DstMAC: models.MAC{255, 255, 255, 255, 255, 255}, ARPOp: 1,
			ARPSenderMAC: models.MAC{2, 0, 0, 0, 0, 0x0a},
		}},
		"packet-fragment": {Packet: models.PacketMeta{
			TS: goldenTS + 5, Src: addr("192.0.2.10"), Dst: addr("198.51.100.7"), Proto: 47, Frag: models.FragLater, WireLen: 1514,
			PayloadLen: 1480, Entropy: 80000,
		}},
		"packet-hostile-name": {Packet: models.PacketMeta{
			TS: goldenTS + 6, Src: addr("192.0.2.10"), Dst: addr("192.0.2.53"), SrcPort: 40000, DstPort: 53, Proto: models.ProtoUDP,
			WireLen: 90, PayloadLen: 48, Entropy: 1, DNSQType: 1,
			DNSQuestion: arena.text("<img src=x onerror=\"alert(1)\">\\\x00\x1b[31m\u202eé"),
		}},
	}
	for name, g := range out {
		g.Arena = arena.b
		out[name] = g
	}
	return out
}

// PacketArena is a packet with its texts.
type PacketArena struct {
	Packet models.PacketMeta
	Arena  []byte
}

// plain is a packet with its texts resolved, so that packets of different arenas compare.
type plain struct {
	Packet             models.PacketMeta
	Question, SNI, JA4 string
}

func resolve(p models.PacketMeta, arena []byte) plain {
	out := plain{p, string(p.DNSQuestion.In(arena)), string(p.SNI.In(arena)), string(p.JA4.In(arena))}
	out.Packet.DNSQuestion, out.Packet.SNI, out.Packet.JA4 = models.Text{}, models.Text{}, models.Text{}
	return out
}

// golden compares b with a golden file, or writes it with -update.
func golden(t *testing.T, name string, b []byte) []byte {
	t.Helper()
	path := filepath.Join(goldenDir, name+".json")
	if *update {
		if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want = bytes.TrimSuffix(want, []byte("\n"))
	if diff := cmp.Diff(string(want), string(b)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
	return want
}

func TestGoldenPackets(t *testing.T) {
	for name, g := range goldenPackets() {
		t.Run(name, func(t *testing.T) {
			b := golden(t, name, NewPacketEncoder(goldenSensor).Append(nil, &g.Packet, g.Arena))
			var rec PacketRecord
			arena, err := DecodePacket(b, &rec, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(resolve(g.Packet, g.Arena), resolve(rec.Packet, arena)); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
			if s := string(rec.Sensor.In(arena)); s != goldenSensor || rec.Watermark {
				t.Errorf("sensor %q, watermark %v", s, rec.Watermark)
			}
		})
	}
}

func TestGoldenWatermark(t *testing.T) {
	want := WatermarkOf(&models.SensorSlot{N: 44_887_472_325, Epoch: 1, Received: 51_234, Lost: 12})
	b := golden(t, "watermark", NewPacketEncoder(goldenSensor).AppendWatermark(nil, want))
	var rec PacketRecord
	arena, err := DecodePacket(b, &rec, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !rec.Watermark || rec.Mark != want || rec.Packet.TS != int64(want.TS) || string(rec.Sensor.In(arena)) != goldenSensor {
		t.Errorf("decoded %+v, want %+v", rec, want)
	}
}

// A watermark is read back as it was, at the ends of the ranges too. The time of one that lies beyond the calendar is clamped.
func TestWatermarkRoundTrip(t *testing.T) {
	for _, w := range []Watermark{
		{}, {Slot: -1, TS: -40_000}, {Slot: minSlot, TS: minMicros}, {Slot: maxSlot, TS: maxMicros, Received: math.MaxUint64, Lost: math.MaxUint64, Epoch: math.MaxUint64},
	} {
		b := NewPacketEncoder("").AppendWatermark(nil, w)
		var rec PacketRecord
		if _, err := DecodePacket(b, &rec, nil); err != nil || rec.Mark != w {
			t.Errorf("%s: %+v, %v, want %+v", b, rec.Mark, err, w)
		}
	}
}

// exampleAlerts are the alerts of docs/wire-format, which a run has made (cmd/netlyra, TestExampleAlerts).
func exampleAlerts(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(goldenDir, "alert-*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no example of an alert in %s: %v", goldenDir, err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".json")] = bytes.TrimSpace(b)
	}
	return all
}

func TestExampleAlertsRoundTrip(t *testing.T) {
	for name, b := range exampleAlerts(t) {
		t.Run(name, func(t *testing.T) {
			a, err := DecodeAlert(b, endOfTime())
			if err != nil {
				t.Fatal(err)
			}
			again, err := json.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(b), string(again)); diff != "" {
				t.Errorf("encoded again (-want +got):\n%s", diff)
			}
		})
	}
}

// TestGoldenFilesAreAllRead keeps the directory from holding records that no test reads.
func TestGoldenFilesAreAllRead(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldenDir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files (%v)", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".json")
		_, packet := goldenPackets()[name]
		_, alert := exampleAlerts(t)[name]
		_, other := goldenJSON(t)[name]
		_, schema := schemas(t)[strings.TrimSuffix(name, ".schema")]
		if !packet && !alert && !other && !schema && name != "watermark" && name != "slots" {
			t.Errorf("%s is read by no test", f)
		}
	}
}

const minimal = `"ts":"2026-11-24T05:41:33.000001Z","src_ip":"192.0.2.1","dst_ip":"192.0.2.2","src_port":1,"dst_port":2,` +
	`"proto":"TCP","payload_len":3,"tcp_flags":"ACK,PSH","entropy":1.5`

func TestDecodePacketAcceptsWhatOthersWrite(t *testing.T) {
	want := models.PacketMeta{
		TS: goldenTS, Src: addr("192.0.2.1"), Dst: addr("192.0.2.2"), SrcPort: 1, DstPort: 2, Proto: models.ProtoTCP,
		PayloadLen: 3, Flags: models.ACK | models.PSH, Entropy: 15000,
	}
	for _, tt := range []struct{ name, json string }{
		{"minimal", `{` + minimal + `}`},
		{"unknown members", `{"new":{"a":[1,"}",{"b":null}],"c":"\""},` + minimal + `,"other":-1.5e3,"x":true}`},
		{"version", `{` + minimal + `,"v":1}`},
		{"null is absent", `{` + minimal + `,"vlan":null,"dir":null,"watermark":false}`},
		{"white space", " {\n" + strings.ReplaceAll(minimal, ",\"", " ,\t\"") + "\r\n} "},
		{"escaped name", `{` + strings.Replace(minimal, `"proto"`, `"\u0070roto"`, 1) + `}`},
		{"nanoseconds are cut", `{` + strings.Replace(minimal, "33.000001Z", "33.000001999Z", 1) + `}`},
		{"another time zone", `{` + strings.Replace(minimal, "05:41:33.000001Z", "06:41:33.000001+01:00", 1) + `}`},
		{"entropy with more decimals", `{` + strings.Replace(minimal, "1.5", "1.50000001", 1) + `}`},
		{"entropy with an exponent", `{` + strings.Replace(minimal, "1.5", "15e-1", 1) + `}`},
		{"the last of two counts", `{"src_port":9,` + minimal + `}`},
		{"mapped address", `{` + strings.Replace(minimal, `"192.0.2.1"`, `"::ffff:192.0.2.1"`, 1) + `}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var rec PacketRecord
			arena, err := DecodePacket([]byte(tt.json), &rec, []byte("kept"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, rec.Packet); diff != "" || string(arena) != "kept" {
				t.Errorf("arena %q, packet (-want +got):\n%s", arena, diff)
			}
		})
	}
}

func TestDecodePacketRefuses(t *testing.T) {
	with := func(old, changed string) string { return `{` + strings.Replace(minimal, old, changed, 1) + `}` }
	for _, tt := range []struct {
		name, json string
		err        error
		names      string
	}{
		{"nothing", ``, ErrMalformed, "record"},
		{"an array", `[]`, ErrMalformed, "record"},
		{"an empty object", `{}`, ErrMalformed, "ts"},
		{"no end", `{` + minimal, ErrMalformed, "record"},
		{"more after the end", `{` + minimal + `}{`, ErrMalformed, "record"},
		{"a newer version", `{` + minimal + `,"v":2}`, ErrVersion, "2"},
		{"a missing member", with(`"entropy":1.5`, `"other":1`), ErrMalformed, "entropy"},
		{"a null member", with(`"entropy":1.5`, `"entropy":null`), ErrMalformed, "entropy"},
		{"a port too high", with(`"src_port":1`, `"src_port":65536`), ErrMalformed, "src_port"},
		{"a negative port", with(`"src_port":1`, `"src_port":-1`), ErrMalformed, "src_port"},
		{"a fractional port", with(`"src_port":1`, `"src_port":1.5`), ErrMalformed, "src_port"},
		{"a port with a leading zero", with(`"src_port":1`, `"src_port":01`), ErrMalformed, "src_port"},
		{"a port as text", with(`"src_port":1`, `"src_port":"1"`), ErrMalformed, "src_port"},
		{"no such day", with(`11-24`, `02-30`), ErrMalformed, "ts"},
		{"no such month", with(`11-24`, `13-24`), ErrMalformed, "ts"},
		{"no such hour", with(`T05`, `T24`), ErrMalformed, "ts"},
		{"an address with a zone", with(`192.0.2.1`, `fe80::1%eth0`), ErrMalformed, "src_ip"},
		{"an octet too high", with(`192.0.2.1`, `192.0.2.256`), ErrMalformed, "src_ip"},
		{"an octet with a leading zero", with(`192.0.2.1`, `192.0.02.1`), ErrMalformed, "src_ip"},
		{"an unknown protocol", with(`"TCP"`, `"TCPX"`), ErrMalformed, "proto"},
		{"an unknown flag", with(`ACK,PSH`, `ACK,NEW`), ErrMalformed, "tcp_flags"},
		{"a comma at the end of the flags", with(`ACK,PSH`, `ACK,`), ErrMalformed, "tcp_flags"},
		{"entropy too high", with(`1.5`, `8.0001`), ErrMalformed, "entropy"},
		{"entropy in hexadecimal", with(`1.5`, `0e`), ErrMalformed, "entropy"},
		{"an unknown direction", `{` + minimal + `,"dir":"up"}`, ErrMalformed, "dir"},
		{"a short MAC", `{` + minimal + `,"src_mac":"02:00"}`, ErrMalformed, "src_mac"},
		{"a control character", `{` + minimal + ",\"tls_sni\":\"a\x01\"}", ErrMalformed, "tls_sni"},
		{"not UTF-8", `{` + minimal + ",\"tls_sni\":\"a\xff\"}", ErrMalformed, "tls_sni"},
		{"an unknown escape", `{` + minimal + `,"tls_sni":"\x"}`, ErrMalformed, "tls_sni"},
		{"half an escape", `{` + minimal + `,"tls_sni":"\u00`, ErrMalformed, "tls_sni"},
		{"a text too long", `{` + minimal + `,"tls_sni":"` + strings.Repeat("a", 65536) + `"}`, ErrMalformed, "tls_sni"},
		{"an unknown member that is no JSON", `{` + minimal + `,"new":[1,}`, ErrMalformed, "new"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var rec PacketRecord
			arena, err := DecodePacket([]byte(tt.json), &rec, []byte("kept"))
			if !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.names) {
				t.Errorf("error %v, want %v naming %q", err, tt.err, tt.names)
			}
			if string(arena) != "kept" {
				t.Errorf("arena %q, want it as it was", arena)
			}
		})
	}
}

func TestDecodeAlertRefuses(t *testing.T) {
	good := exampleAlerts(t)["alert-port-scan"]
	for _, tt := range []struct {
		name, old, changed string
		err                error
	}{
		{"a newer version", `{`, `{"v":2,`, ErrVersion},
		{"no id", `"id":"87a04a86abcaf6bc"`, `"id":""`, ErrMalformed},
		{"score too high", `"score":0.9943`, `"score":1.01`, ErrMalformed},
		{"an unknown category", `"port_scan"`, `"virus"`, ErrMalformed},
		{"an unknown severity", `"high"`, `"huge"`, ErrMalformed},
		{"an unknown state", `"closed"`, `"ajar"`, ErrMalformed},
		{"a port too high", `"dst_port":0`, `"dst_port":70000`, ErrMalformed},
		{"no time", `"ts":"2026-11-24T06:43:16.600000Z"`, `"ts":null`, ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := strings.Replace(string(good), tt.old, tt.changed, 1)
			if b == string(good) {
				t.Fatalf("%s is not in %s", tt.old, good)
			}
			if _, err := DecodeAlert([]byte(b), endOfTime()); !errors.Is(err, tt.err) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
		})
	}
	if _, err := DecodeAlert([]byte(strings.Replace(string(good), `{`, `{"v":1,"new":[1],`, 1)), endOfTime()); err != nil {
		t.Errorf("version 1 with an unknown member: %v", err)
	}
}

// randomPacket makes a canonical packet out of a seed.
func randomPacket(seed uint64) (models.PacketMeta, []byte) {
	r := rand.New(rand.NewPCG(seed, 1))
	var arena textArena
	word := func() models.Text {
		if r.IntN(2) == 0 {
			return models.Text{}
		}
		var s strings.Builder
		for range 1 + r.IntN(30) {
			c := rune(r.IntN(0x250))
			if r.IntN(20) == 0 {
				c = rune(r.IntN(utf8.MaxRune))
			}
			s.WriteRune(c)
		}
		return arena.text(s.String())
	}
	mac := func() (m models.MAC) {
		for i := range m {
			m[i] = byte(r.IntN(3) * 100)
		}
		return m
	}
	address := func() models.Addr {
		if r.IntN(2) == 0 {
			return models.Addr{Lo: 0xffff_0000_0000 | uint64(r.Uint32())}
		}
		return models.Addr{Hi: r.Uint64() << r.IntN(64), Lo: r.Uint64() << r.IntN(64)}
	}
	protos := []models.Proto{0, 1, 6, 17, 58, 132, 255, models.ProtoARP}
	p := models.PacketMeta{
		TS: minMicros + r.Int64N(maxMicros-minMicros), ConnStart: r.Int64N(4) * goldenTS, Src: address(), Dst: address(),
		SrcPort: uint16(r.Uint32()), DstPort: uint16(r.Uint32()), Proto: protos[r.IntN(len(protos))],
		Flags: models.TCPFlags(r.Uint32()), Dir: models.Dir(r.IntN(3)), WireLen: r.Uint32() >> r.IntN(32),
		PayloadLen: r.Uint32() >> r.IntN(32), Entropy: uint32(r.IntN(80_001)), SrcMAC: mac(), DstMAC: mac(),
		VLAN: uint16(r.IntN(3)), InnerVLAN: uint16(r.IntN(3)), Frag: models.Frag(r.IntN(3)), Nesting: uint8(r.IntN(9)),
		ARPOp: uint16(r.IntN(3)), ARPSenderMAC: mac(), ARPTargetMAC: mac(), DNSAnswer: r.IntN(2) == 0,
		DNSQType: uint16(r.IntN(3)), DNSQuestion: word(), SNI: word(), JA4: word(),
		ConnNew: r.IntN(2) == 0, ConnEstablished: r.IntN(2) == 0,
	}
	if hasICMP(&p) {
		p.ICMPType, p.ICMPCode = uint8(r.Uint32()), uint8(r.Uint32())
	}
	if p.DNSAnswer {
		p.DNSRcode = uint8(r.IntN(16))
	}
	return p, arena.b
}

func TestPacketRoundTrip(t *testing.T) {
	e := NewPacketEncoder("a \"sensor\"\n")
	for seed := range uint64(5000) {
		p, arena := randomPacket(seed)
		b := e.Append(nil, &p, arena)
		if !json.Valid(b) {
			t.Fatalf("seed %d: not JSON: %s", seed, b)
		}
		var rec PacketRecord
		got, err := DecodePacket(b, &rec, nil)
		if err != nil {
			t.Fatalf("seed %d: %v in %s", seed, err, b)
		}
		if diff := cmp.Diff(resolve(p, arena), resolve(rec.Packet, got)); diff != "" {
			t.Fatalf("seed %d: %s\n(-want +got):\n%s", seed, b, diff)
		}
		if s := string(rec.Sensor.In(got)); s != "a \"sensor\"\n" {
			t.Fatalf("seed %d: sensor %q", seed, s)
		}
	}
}

// TestEncodedFieldsAgreeWithTheModels reads what the encoder writes with the standard library, and compares it with the
// texts that package models gives.
func TestEncodedFieldsAgreeWithTheModels(t *testing.T) {
	e := NewPacketEncoder("s")
	for seed := range uint64(500) {
		p, arena := randomPacket(seed)
		var got struct {
			TS        time.Time `json:"ts"`
			SrcIP     string    `json:"src_ip"`
			DstIP     string    `json:"dst_ip"`
			Proto     string    `json:"proto"`
			Flags     string    `json:"tcp_flags"`
			Entropy   float64   `json:"entropy"`
			SrcMAC    string    `json:"src_mac"`
			Question  string    `json:"dns_question"`
			ConnStart time.Time `json:"conn_start"`
		}
		if err := json.Unmarshal(e.Append(nil, &p, arena), &got); err != nil {
			t.Fatal(err)
		}
		mac := ""
		if p.SrcMAC != (models.MAC{}) {
			mac = p.SrcMAC.String()
		}
		for _, c := range []struct{ name, want, got string }{
			{"ts", models.Micros(p.TS).String(), got.TS.Format(models.TimeLayout)},
			{"src_ip", p.Src.String(), got.SrcIP},
			{"dst_ip", p.Dst.String(), got.DstIP},
			{"proto", p.Proto.String(), got.Proto},
			{"tcp_flags", p.Flags.String(), got.Flags},
			{"src_mac", mac, got.SrcMAC},
			{"dns_question", string(p.DNSQuestion.In(arena)), got.Question},
		} {
			if c.want != c.got {
				t.Errorf("seed %d: %s %q, want %q", seed, c.name, c.got, c.want)
			}
		}
		if d := got.Entropy*10_000 - float64(p.Entropy); d > 1e-6 || d < -1e-6 {
			t.Errorf("seed %d: entropy %v, want %d/10000", seed, got.Entropy, p.Entropy)
		}
		if p.ConnStart != 0 && got.ConnStart.UnixMicro() != p.ConnStart {
			t.Errorf("seed %d: conn_start %v, want %d", seed, got.ConnStart, p.ConnStart)
		}
	}
}

func TestTimesBeyondTheCalendarAreClamped(t *testing.T) {
	e := NewPacketEncoder("")
	for _, tt := range []struct {
		ts   int64
		want string
	}{
		{-1 << 63, `{"ts":"0000-01-01T00:00:00.000000Z"`},
		{1<<63 - 1, `{"ts":"9999-12-31T23:59:59.999999Z"`},
		{-1, `{"ts":"1969-12-31T23:59:59.999999Z"`},
		{0, `{"ts":"1970-01-01T00:00:00.000000Z"`},
	} {
		if got := string(e.Append(nil, &models.PacketMeta{TS: tt.ts}, nil)); !strings.HasPrefix(got, tt.want+",") {
			t.Errorf("ts %d: %s, want %s…", tt.ts, got, tt.want)
		}
	}
}

func TestEncodeAndDecodeDoNotAllocate(t *testing.T) {
	for name, g := range goldenPackets() {
		e := NewPacketEncoder(goldenSensor)
		buf := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(500, func() { buf = e.Append(buf[:0], &g.Packet, g.Arena) }); n != 0 {
			t.Errorf("%s: %v allocations to encode, want 0", name, n)
		}
		if name == "packet-hostile-name" {
			continue // an escaped string needs a buffer of its own
		}
		var rec PacketRecord
		arena := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(500, func() { _, _ = DecodePacket(buf, &rec, arena[:0]) }); n != 0 {
			t.Errorf("%s: %v allocations to decode, want 0", name, n)
		}
	}
}

// FuzzDecodePacket: no input panics; what is accepted is JSON to the standard library too, and written again it reads
// the same.
func FuzzDecodePacket(f *testing.F) {
	for _, g := range goldenPackets() {
		f.Add(NewPacketEncoder(goldenSensor).Append(nil, &g.Packet, g.Arena))
	}
	f.Add([]byte(`{"ts":"2026-11-24T05:41:33.000001Z","watermark":true}`))
	f.Add([]byte(`{` + minimal + `,"x":{"a":[1,2,"\ud83d\ude00"]},"tls_sni":"\ud83d"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var rec, again PacketRecord
		arena, err := DecodePacket(b, &rec, nil)
		if err != nil {
			return
		}
		if !json.Valid(b) {
			t.Fatalf("accepted what is not JSON: %q", b)
		}
		if rec.Watermark {
			return
		}
		// What no canonical packet has is not written: it counts for one kind of packet only.
		if !hasICMP(&rec.Packet) {
			rec.Packet.ICMPType, rec.Packet.ICMPCode = 0, 0
		}
		out := NewPacketEncoder(string(rec.Sensor.In(arena))).Append(nil, &rec.Packet, arena)
		arena2, err := DecodePacket(out, &again, nil)
		if err != nil {
			t.Fatalf("own output %s: %v", out, err)
		}
		if diff := cmp.Diff(resolve(rec.Packet, arena), resolve(again.Packet, arena2)); diff != "" {
			t.Fatalf("%q\n%s\n(-first +second):\n%s", b, out, diff)
		}
	})
}

// FuzzParseAddr: the two fast parsers agree with net/netip on whatever they accept, and they accept what String writes.
func FuzzParseAddr(f *testing.F) {
	for _, s := range []string{
		"192.0.2.1", "255.255.255.255", "::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "2001:db8::1:0:0:1", "1:::2",
		"1:2", ":1", "1:", "12345::", "::1::", "1.2.3", "01.2.3.4", "1:2:3:4:5:6:7:8:9", "fe80::1%eth0", "::ffff:1.2.3.4",
		"1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "A::b",
	} {
		f.Add(s, uint64(len(s)), uint64(1))
	}
	f.Fuzz(func(t *testing.T, s string, hi, lo uint64) {
		want, err := netip.ParseAddr(s)
		for name, parse := range map[string]func([]byte) (models.Addr, bool){"4": parseAddr4, "6": parseAddr6} {
			if got, ok := parse([]byte(s)); ok && (err != nil || got != models.AddrFromNetip(want)) {
				t.Errorf("parseAddr%s(%q) = %v, net/netip: %v, %v", name, s, got, want, err)
			}
		}
		for _, a := range []models.Addr{{Hi: hi, Lo: lo}, {Hi: hi}, {Lo: lo}, {Hi: hi << 32, Lo: lo >> 32}} {
			parse := parseAddr6
			if a.Is4() {
				parse = parseAddr4
			}
			if got, ok := parse([]byte(a.String())); !ok || got != a {
				t.Errorf("parse(%q) = %v, %v", a, got, ok)
			}
		}
	})
}

// FuzzPacketRoundTrip: decode(encode(x)) == x for every canonical packet, whatever its texts are.
func FuzzPacketRoundTrip(f *testing.F) {
	f.Add(uint64(1), "example.com", "s")
	f.Add(uint64(2), "\x00\"\\\u2028\U0001f600", "\x7f")
	f.Fuzz(func(t *testing.T, seed uint64, name, sensor string) {
		if !utf8.ValidString(name) || !utf8.ValidString(sensor) || len(name) > 60_000 || len(sensor) > 60_000 {
			t.Skip("not canonical")
		}
		p, arena := randomPacket(seed)
		p.SNI = models.Text{Off: uint32(len(arena)), Len: uint16(len(name))}
		arena = append(arena, name...)
		var rec PacketRecord
		got, err := DecodePacket(NewPacketEncoder(sensor).Append(nil, &p, arena), &rec, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(resolve(p, arena), resolve(rec.Packet, got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func BenchmarkEncodePacket(b *testing.B) {
	for _, name := range []string{"packet-tcp", "packet-dns", "packet-icmp"} {
		b.Run(name, func(b *testing.B) {
			g := goldenPackets()[name]
			e := NewPacketEncoder(goldenSensor)
			buf := make([]byte, 0, 1024)
			b.ReportAllocs()
			for b.Loop() {
				g.Packet.TS++
				buf = e.Append(buf[:0], &g.Packet, g.Arena)
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}

func BenchmarkDecodePacket(b *testing.B) {
	g := goldenPackets()["packet-tcp"]
	buf := NewPacketEncoder(goldenSensor).Append(nil, &g.Packet, g.Arena)
	arena := make([]byte, 0, 1024)
	var rec PacketRecord
	b.ReportAllocs()
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := DecodePacket(buf, &rec, arena[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

// TestWireFormatPageIsComplete: docs/wire-format.md names every member that is ever written, every topic, and the closed
// lists.
func TestWireFormatPageIsComplete(t *testing.T) {
	page, err := os.ReadFile("../../docs/wire-format.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	add := func(b []byte) {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(b, &members); err != nil {
			t.Fatal(err)
		}
		for name := range members {
			names[name] = true
		}
	}
	for seed := range uint64(200) {
		p, arena := randomPacket(seed)
		add(NewPacketEncoder("s").Append(nil, &p, arena))
	}
	add(NewPacketEncoder("s").AppendWatermark(nil, Watermark{}))
	for _, b := range exampleAlerts(t) {
		add(b)
	}
	for _, b := range goldenJSON(t) {
		add(b)
	}
	for _, topic := range Topics() {
		names[string(topic)] = true
	}
	for _, c := range models.Categories() {
		names[string(c)] = true
	}
	for _, s := range models.Severities() {
		names[string(s)] = true
	}
	for name := range names {
		if !bytes.Contains(page, []byte("`"+name+"`")) {
			t.Errorf("docs/wire-format.md does not name `%s`", name)
		}
	}
}
