package filter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/bpf"

	"netlyra/internal/capture"
	"netlyra/internal/models"
	"netlyra/internal/nettest"
)

// TestAgainstTcpdumpLive compares with the programs that tcpdump makes for an interface, which look for a VLAN tag in the
// packet's metadata first.
func TestAgainstTcpdumpLive(t *testing.T) {
	needTcpdump(t)
	ns := nettest.New(t)
	frames := framesOf(t, models.LinkEthernet)
	for i := range frames { // half of the tagged ones, and some others, with the outer tag taken out
		f := &frames[i]
		if i%2 == 0 || len(f.Data) < 18 {
			continue
		}
		wire := f.WireLen
		if *f = *stripped(f.Data); f.TPID == 0 && i%5 == 0 {
			f.TPID, f.TCI = 0x8100, 0x6005
			wire += tagBytes
		}
		f.WireLen = wire
	}
	verdicts, accepted := 0, 0
	for i, expr := range expressions() {
		if !strings.Contains(expr, "vlan") && i%20 != 0 {
			continue // without vlan the programs are those for files
		}
		ours, err := matcher(t, expr, models.LinkEthernet, Options{Live: true})
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		theirs, refused := tcpdump(t, ns.Command("tcpdump", "-O", "-ddd", "-i", "lo", "--", expr))
		if refused != "" {
			t.Errorf("%s: tcpdump refuses: %s", expr, refused)
			continue
		}
		verdicts += len(frames)
		for i := range frames {
			f := &frames[i]
			got, want := ours.Match(f), theirs.Match(f)
			if got != want {
				t.Errorf("%s: %v, want %v for tag %04x:%04x and % x", expr, got, want, f.TPID, f.TCI, f.Data)
				break
			}
			if want && f.TPID != 0 {
				accepted++
			}
		}
	}
	t.Logf("%d verdicts; %d frames accepted whose tag is in the metadata", verdicts, accepted)
	if accepted < 1000 {
		t.Errorf("%d frames accepted whose tag is in the metadata: the test says little", accepted)
	}
}

// stripped is the frame as the kernel has it: the outer VLAN tag is in the metadata.
func stripped(b []byte) *models.Frame {
	f := &models.Frame{Data: b, WireLen: uint32(len(b)), Link: models.LinkEthernet}
	if tpid := binary.BigEndian.Uint16(b[12:]); tpid == etherVLAN || tpid == etherQinQ {
		f.TPID, f.TCI = tpid, binary.BigEndian.Uint16(b[14:])
		f.Data = append(append([]byte(nil), b[:12]...), b[16:]...)
	}
	return f
}

// TestKernel lets the kernel run the programs, and sees that exactly the right frames arrive.
func TestKernel(t *testing.T) {
	ns := nettest.New(t)
	ns.Veth("va", "vb")
	// The last bytes of each frame, behind all that the filters look at, are its number.
	var frames [][]byte
	for _, p := range networkPackets(t)[:80] {
		for _, tags := range []packet{p, p.tagged(0x8100, 5), p.tagged(0x8100, 6|3<<13), p.tagged(0x8100, 7).tagged(0x88a8, 5)} {
			whole, _ := header(models.LinkEthernet, tags, 0)
			whole = append(whole, tags.data...)
			whole = append(whole, make([]byte, max(62-len(whole), 2))...)
			binary.BigEndian.PutUint16(whole[len(whole)-2:], uint16(len(frames)))
			frames = append(frames, whole)
		}
	}
	tests := []struct {
		expr        string
		likeInFiles bool // the verdict on the frame with its tag in the bytes is the same
	}{
		{"vlan", true},
		{"vlan 5", true},
		{"not vlan", true},
		{"vlan 6 and tcp port 80", true},
		{"vlan 5 and vlan 7 and udp", true},
		{"vlan and host 10.1.2.3 and not icmp", true},
		{"ip or vlan 6", false},
		{"ip", false},
		{"ether proto 0x8100", false},
		{"greater 64", false},
		{"tcp[tcpflags] & tcp-syn != 0", false},
		{"portrange 80-90 or icmp6", false},
		{"ip[2:2] - ((ip[0] & 0xf) << 2) > 20", false},
		{"ip[8] << ip[9] = 4096", false},
		{strings.Repeat("port 9 or host 10.9.9.9 or ", 60) + "udp", false}, // jumps of more than 255 instructions
	}
	for _, tt := range tests {
		t.Run(tt.expr[:min(len(tt.expr), 40)], func(t *testing.T) {
			live, err := matcher(t, tt.expr, models.LinkEthernet, Options{Live: true})
			if err != nil {
				t.Fatal(err)
			}
			inFile, err := matcher(t, tt.expr, models.LinkEthernet, Options{})
			if err != nil {
				t.Fatal(err)
			}
			arrived := 0
			for i, got := range capturedBy(t, ns, tt.expr, frames) {
				if want := live.Match(stripped(frames[i])); got != want {
					t.Errorf("frame %d: captured %v, want %v: % x", i, got, want, frames[i])
				}
				if want := inFile.Match(&models.Frame{Data: frames[i], WireLen: uint32(len(frames[i]))}); tt.likeInFiles && got != want {
					t.Errorf("frame %d: captured %v, in a file %v: % x", i, got, want, frames[i])
				}
				if got {
					arrived++
				}
			}
			if arrived == len(frames) || arrived == 0 && !strings.HasPrefix(tt.expr, "ether proto") {
				t.Errorf("%d of %d frames: the test says nothing", arrived, len(frames))
			}
		})
	}
}

// capturedBy sends frames from va, and says which of them arrive at vb under a filter.
func capturedBy(t *testing.T, ns *nettest.Namespace, expr string, frames [][]byte) []bool {
	t.Helper()
	const markerType = 0x88b5 // IEEE 802, for experiments: after this frame, all that will come have come
	marker := append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, markerType >> 8, markerType & 0xff}, make([]byte, 46)...)
	var rings []*capture.Ring
	var err error
	ns.Do(func() {
		rings, err = capture.OpenLive(capture.LiveOptions{
			Interfaces: []string{"vb"}, RingBytes: 8 << 20,
			Filter: func(link models.LinkType) ([]bpf.RawInstruction, error) {
				return Compile(fmt.Sprintf("ether proto %d or (%s)", markerType, expr), link, Options{Live: true})
			},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	sender := ns.NewSender("va")
	for _, f := range append(slices.Clip(frames), marker) {
		if err := sender.Send(f); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]bool, len(frames))
	var b models.Batch
	for done, deadline := false, time.Now().Add(10*time.Second); !done; {
		if err := rings[0].Read(&b); err != nil || time.Now().After(deadline) {
			t.Fatalf("the marker has not come: %v", err)
		}
		for _, f := range b.Frames {
			if bytes.Equal(f.Data, marker) {
				done = true
				continue
			}
			n := binary.BigEndian.Uint16(f.Data[len(f.Data)-2:])
			if int(n) >= len(got) || got[n] {
				t.Fatalf("frame %d is unknown, or has come twice", n)
			}
			got[n] = true
		}
	}
	if err := rings[0].Close(); err != nil {
		t.Fatal(err)
	}
	for rings[0].Read(&b) == nil {
	}
	return got
}
