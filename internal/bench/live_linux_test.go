package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"netlyra/internal/capture"
	"netlyra/internal/nettest"
)

// The kernel's program writes the very frames that liveFrame does.
func TestXDPProgramMakesTheFrames(t *testing.T) {
	if os.Geteuid() != 0 {
		nettest.Unavailable(t, "XDP programs need root: run this test with sudo")
	}
	s, err := loadXDP(asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	if err := s.paceMap.Put(uint32(0), &xdpPace{Total: 1000}); err != nil {
		t.Fatal(err)
	}
	var directions [2]int
	for range 1000 {
		got, want := make([]byte, liveFrameBytes), make([]byte, liveFrameBytes)
		if verdict, err := s.program.Run(&ebpf.RunOptions{Data: s.frame, DataOut: got}); err != nil || verdict != xdpPass {
			t.Fatalf("verdict %d, %v", verdict, err)
		}
		dir, id := 0, int(binary.BigEndian.Uint16(got[atSrcPort:]))-liveInsidePort
		if binary.BigEndian.Uint16(got[atSrcPort:]) == liveOutsidePort {
			dir, id = 1, int(binary.BigEndian.Uint16(got[atDstPort:]))-liveInsidePort
		}
		if id < 0 || id >= liveConnections {
			t.Fatalf("connection %d", id)
		}
		directions[dir]++
		if liveFrame(want, id, dir); !bytes.Equal(got, want) {
			t.Fatalf("connection %d, direction %d:\n got %x\nwant %x", id, dir, got, want)
		}
	}
	if min(directions[0], directions[1]) < 300 {
		t.Errorf("%d frames outwards, %d inwards", directions[0], directions[1])
	}
	if verdict, err := s.program.Run(&ebpf.RunOptions{Data: s.frame}); err != nil || verdict != xdpDrop {
		t.Errorf("after the last frame: verdict %d, %v", verdict, err)
	}
}

// What either sender says it has sent arrives, and is what the ring reads.
func TestSendersCountWhatArrives(t *testing.T) {
	const rate, duration = 20_000, 300 * time.Millisecond
	for _, method := range []string{"xdp", "sendmmsg"} {
		t.Run(method, func(t *testing.T) {
			l := testLink(t)
			var rings []*capture.Ring
			var r SendResult
			err := l.do(func() (err error) {
				if rings, err = capture.OpenLive(capture.LiveOptions{Interfaces: []string{watchingEnd}}); err != nil {
					return err
				}
				var s sender
				if method == "xdp" {
					s, err = newXDPSender(sendingEnd)
				} else {
					s, err = newPacketSender(sendingEnd)
				}
				if err != nil {
					return err
				}
				r, err = s.run(t.Context(), SendOptions{Interface: sendingEnd, Rate: rate, Duration: duration})
				return errors.Join(err, s.close())
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = rings[0].Close() }()
			if want := uint64(rate * duration / time.Second); r.Sent != want {
				t.Errorf("sent %d, want %d", r.Sent, want)
			}
			arrived, err := l.show(t.Context(), watchingEnd)
			if err != nil || arrived.Stats.RX.Packets != r.Sent {
				t.Errorf("arrived %d, sent %d: %v", arrived.Stats.RX.Packets, r.Sent, err)
			}
		})
	}
}

func testLink(t *testing.T) *link {
	t.Helper()
	if os.Geteuid() != 0 {
		nettest.Unavailable(t, "network namespaces need root: run this test with sudo")
	}
	l, err := newLink(t.Context())
	if err != nil {
		nettest.Unavailable(t, err.Error())
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// Bursts are no longer than a millisecond, and the rate is kept on average.
func TestPace(t *testing.T) {
	const rate = 100_000
	sent := 0
	err := pace(context.Background(), SendOptions{Rate: rate, Duration: 50 * time.Millisecond}, func(n int) error {
		if n < 1 || n > rate/1000 {
			t.Errorf("a burst of %d", n)
		}
		sent += n
		return nil
	})
	if err != nil || sent != rate/20 {
		t.Errorf("sent %d, %v; want %d", sent, err, rate/20)
	}
}
