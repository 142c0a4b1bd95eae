package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"netlyra/internal/models"
	"netlyra/internal/nettest"
)

// patience bounds how long a test waits for what must come; it says nothing of how fast it should be.
const patience = 10 * time.Second

// udpFrame is an Ethernet frame with a UDP datagram in it, marked with a number.
func udpFrame(n uint32, size int) []byte {
	b := make([]byte, max(size, 60))
	copy(b, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00})
	ip := b[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	binary.BigEndian.PutUint16(ip[20:], uint16(1024+n%5000))
	binary.BigEndian.PutUint16(ip[22:], 53)
	binary.BigEndian.PutUint16(ip[24:], uint16(len(ip)-20))
	binary.BigEndian.PutUint32(ip[28:], n)
	return b
}

// openIn opens rings in a namespace. They are closed and drained after the test.
func openIn(t *testing.T, n *nettest.Namespace, o LiveOptions) []*Ring {
	t.Helper()
	var rings []*Ring
	var err error
	n.Do(func() { rings, err = OpenLive(o) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, r := range rings {
			drain(t, r, nil)
		}
	})
	return rings
}

// drain closes a ring and hands over what is left.
func drain(t *testing.T, r *Ring, each func(*models.Frame)) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	var b models.Batch
	for {
		err := r.Read(&b)
		for i := range b.Frames {
			if each != nil {
				each(&b.Frames[i])
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// collect reads until want frames have come.
func collect(t *testing.T, r *Ring, want int) []models.Frame {
	t.Helper()
	var all []models.Frame
	var b models.Batch
	for deadline := time.Now().Add(patience); len(all) < want; {
		if err := r.Read(&b); err != nil {
			t.Fatal(err)
		}
		for _, f := range b.Frames {
			f.Data = append([]byte(nil), f.Data...)
			all = append(all, f)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d frames; %+v", len(all), want, r.Links())
		}
	}
	return all
}

// awaitLink reads until an interface is in a state.
func awaitLink(t *testing.T, r *Ring, want string) {
	t.Helper()
	var b models.Batch
	for deadline := time.Now().Add(patience); r.Links()[0].Link != want; {
		if err := r.Read(&b); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("link is %q, want %q", r.Links()[0].Link, want)
		}
	}
}

func send(t *testing.T, s *nettest.Sender, frame []byte) {
	t.Helper()
	if err := s.Send(frame); err != nil {
		t.Fatal(err)
	}
}

// sendAll sends n frames. It lets the kernel bring them to the rings before it sends more than a few hundred at once: the
// queue in between holds a thousand, and drops before any ring can count.
func sendAll(t *testing.T, rings []*Ring, s *nettest.Sender, n uint32, frame func(uint32) []byte) {
	t.Helper()
	arrived := received(rings)
	for i := range n {
		send(t, s, frame(i))
		if i%300 == 299 || i == n-1 {
			awaitReceived(t, rings, arrived+uint64(i)+1)
		}
	}
}

// awaitReceived waits until the kernel has counted so many frames in all.
func awaitReceived(t *testing.T, rings []*Ring, want uint64) {
	t.Helper()
	for deadline := time.Now().Add(patience); received(rings) < want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the rings have received %d frames of %d", received(rings), want)
		}
	}
}

func received(rings []*Ring) uint64 {
	var sum uint64
	for _, r := range rings {
		r.readStats()
		sum += r.Stats().Received
	}
	return sum
}

func TestLiveCountsEveryFrame(t *testing.T) {
	ns := nettest.New(t)
	ns.Veth("va", "vb")
	const n = 10_000
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			rings := openIn(t, ns, LiveOptions{Interfaces: []string{"vb"}, Workers: workers, RingBytes: 16 << 20})
			before := time.Now().Add(-time.Second).UnixMicro()
			sender := ns.NewSender("va")
			sendAll(t, rings, sender, n, func(i uint32) []byte { return udpFrame(i, 60+int(i)%1400) })
			seen := make([]int, n)
			ringOf := map[uint16]int{} // by source port
			for i, r := range rings {
				last := int64(0)
				drain(t, r, func(f *models.Frame) {
					number := binary.BigEndian.Uint32(f.Data[14+28:])
					seen[number]++
					want := udpFrame(number, 60+int(number)%1400)
					if diff := cmp.Diff(models.Frame{
						TS: f.TS, Data: want, WireLen: uint32(len(want)), Link: models.LinkEthernet,
					}, *f, sameBytes()); diff != "" && !t.Failed() {
						t.Errorf("frame %d (-want +got):\n%s", number, diff)
					}
					if f.TS < before || f.TS < last || f.TS > time.Now().UnixMicro() {
						t.Errorf("frame %d is of %d, after one of %d", number, f.TS, last)
					}
					last = f.TS
					port := binary.BigEndian.Uint16(f.Data[14+20:])
					if of, ok := ringOf[port]; ok && of != i {
						t.Errorf("port %d came to rings %d and %d", port, of, i)
					}
					ringOf[port] = i
				})
			}
			for number, times := range seen {
				if times != 1 {
					t.Fatalf("frame %d came %d times", number, times)
				}
			}
			var sum Stats
			for _, r := range rings {
				s := r.Stats()
				sum.Received += s.Received
				sum.Frames += s.Frames
				if s.Frames == 0 {
					t.Error("a worker without a frame")
				}
			}
			if want := (Stats{Received: n, Frames: n}); sum != want {
				t.Errorf("Stats %+v, want %+v", sum, want)
			}
		})
	}
}

func TestLiveWatermark(t *testing.T) {
	ns := nettest.New(t)
	ns.Veth("va", "vb")
	ns.Veth("vc", "vd")
	r := openIn(t, ns, LiveOptions{Interfaces: []string{"vb", "vd"}, RingBytes: 1 << 20})[0]
	send(t, ns.NewSender("va"), udpFrame(1, 60))
	f := collect(t, r, 1)[0]
	var b models.Batch
	for deadline := time.Now().Add(patience); b.Watermark <= f.TS; { // it passes the frame while both are idle
		if err := r.Read(&b); err != nil {
			t.Fatal(err)
		}
		if len(b.Frames) != 0 || b.Watermark > time.Now().UnixMicro() || time.Now().After(deadline) {
			t.Fatalf("%d frames, watermark %d", len(b.Frames), b.Watermark)
		}
	}
	send(t, ns.NewSender("vc"), udpFrame(2, 60))
	if got := collect(t, r, 1)[0]; got.Iface != 1 || got.TS < b.Watermark {
		t.Errorf("frame of interface %d at %d, behind the watermark %d", got.Iface, got.TS, b.Watermark)
	}
}

func TestLiveVLAN(t *testing.T) {
	tests := []struct {
		name      string
		tag       []byte
		tpid, tci uint16
	}{
		{"802.1Q", []byte{0x81, 0x00, 0x60, 0x2a}, 0x8100, 0x602a},
		{"802.1ad", []byte{0x88, 0xa8, 0x00, 0x07}, 0x88a8, 0x0007},
		{"priority tag", []byte{0x81, 0x00, 0x00, 0x00}, 0x8100, 0},
	}
	ns := nettest.New(t)
	ns.Veth("va", "vb")
	r := openIn(t, ns, LiveOptions{Interfaces: []string{"vb"}, RingBytes: 1 << 20})[0]
	sender := ns.NewSender("va")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plain := udpFrame(1, 100)
			send(t, sender, append(append(append([]byte(nil), plain[:12]...), tt.tag...), plain[12:]...))
			got := collect(t, r, 1)[0]
			want := models.Frame{
				TS: got.TS, Data: plain, WireLen: uint32(len(plain)) + 4, Link: models.LinkEthernet, TPID: tt.tpid, TCI: tt.tci,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("frame (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLiveLoopbackOnce(t *testing.T) {
	ns := nettest.New(t)
	r := openIn(t, ns, LiveOptions{Interfaces: []string{"lo"}, RingBytes: 1 << 20})[0]
	const n = 50
	var err error
	ns.Do(func() { err = sendUDP(n) })
	if err != nil {
		t.Fatal(err)
	}
	awaitReceived(t, []*Ring{r}, n)
	got := 0
	drain(t, r, func(f *models.Frame) {
		if f.Link != models.LinkEthernet || f.WireLen != 14+20+8+100 {
			t.Errorf("frame %+v", *f)
		}
		got++
	})
	if got != n {
		t.Errorf("%d frames for %d datagrams", got, n)
	}
}

// sendUDP sends datagrams of 100 bytes over loopback, to itself, so that no ICMP error answers.
func sendUDP(n int) error {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	addr, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return errors.New("not a UDP address")
	}
	for range n {
		if _, err := c.WriteToUDP(make([]byte, 100), addr); err != nil {
			return err
		}
	}
	return nil
}

func TestLiveDropsAddUp(t *testing.T) {
	ns := nettest.New(t)
	ns.Veth("va", "vb")
	r := openIn(t, ns, LiveOptions{Interfaces: []string{"vb"}, RingBytes: 512 << 10})[0] // two blocks
	sender := ns.NewSender("va")
	const rounds, n = 3, 2000
	for range rounds { // of 3 MB each, in a ring that nobody reads
		sendAll(t, []*Ring{r}, sender, n, func(i uint32) []byte { return udpFrame(i, 1500) })
	}
	drain(t, r, nil)
	s := r.Stats()
	if s.Received != rounds*n || s.Dropped == 0 || s.Freezes == 0 || s.Received != s.Frames+s.Dropped {
		t.Errorf("%+v; want %d received = frames + dropped, and some dropped", s, rounds*n)
	}
	if diff := cmp.Diff([]models.Interface{{Name: "vb", Link: "up", Received: s.Received, Dropped: s.Dropped}}, r.Links()); diff != "" {
		t.Errorf("Interfaces (-want +got):\n%s", diff)
	}
}

func TestLiveInterfaceMadeAgain(t *testing.T) {
	for _, workers := range []int{1, 2} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			ns := nettest.New(t)
			ns.Veth("va", "vb")
			rings := openIn(t, ns, LiveOptions{Interfaces: []string{"vb"}, Workers: workers, RingBytes: 1 << 20})
			// A ring that opens its interface again does so in the namespace of the thread that reads.
			ns.Do(func() { followInterface(t, ns, rings) })
		})
	}
}

func followInterface(t *testing.T, ns *nettest.Namespace, rings []*Ring) {
	await := func(want string) {
		for _, r := range rings {
			awaitLink(t, r, want)
		}
	}
	sendAndCollect := func() {
		send(t, ns.NewSender("va"), udpFrame(7, 60))
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			for _, r := range rings {
				var b models.Batch
				if err := r.Read(&b); err != nil {
					t.Error(err)
					return
				}
				if len(b.Frames) == 1 {
					return
				}
			}
		}
		t.Error("no frame")
	}
	await("up")
	sendAndCollect()
	ns.IP("link", "set", "vb", "down")
	await("down")
	ns.IP("link", "set", "vb", "up")
	await("up")
	sendAndCollect()
	for range 2 {
		ns.IP("link", "del", "vb")
		await("gone")
		ns.Veth("va", "vb")
		await("up")
		sendAndCollect()
	}
	var sum Stats
	for _, r := range rings {
		drain(t, r, nil)
		s := r.Stats()
		sum.Received += s.Received
		sum.Frames += s.Frames
	}
	if sum.Received != 4 || sum.Frames != 4 {
		t.Errorf("Stats %+v, want 4 frames", sum)
	}
}

func TestLiveFilter(t *testing.T) {
	ns := nettest.New(t)
	ns.Veth("va", "vb")
	odd, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 14 + 28, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 1, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 18},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := openIn(t, ns, LiveOptions{
		Interfaces: []string{"vb"}, RingBytes: 1 << 20,
		Filter: func(l models.LinkType) ([]bpf.RawInstruction, error) {
			if l != models.LinkEthernet {
				return nil, fmt.Errorf("link type %d", l)
			}
			return odd, nil
		},
	})[0]
	sender := ns.NewSender("va")
	for i := range uint32(100) {
		send(t, sender, udpFrame(i, 60))
	}
	awaitReceived(t, []*Ring{r}, 50)
	drain(t, r, func(f *models.Frame) {
		if f.Data[14+31]&1 == 0 {
			t.Errorf("an even frame: % x", f.Data)
		}
	})
	if s := r.Stats(); s.Received != 50 || s.Frames != 50 {
		t.Errorf("Stats %+v, want 50 frames", s)
	}
}

// TestLiveRawIP captures on an interface without a link layer.
func TestLiveRawIP(t *testing.T) {
	ns := nettest.New(t)
	var tun *os.File
	var err error
	ns.Do(func() { tun, err = openTun("tun0") })
	if err != nil {
		nettest.Unavailable(t, fmt.Sprintf("no tun device: modprobe tun (%v)", err))
	}
	closeLater(t, tun)
	ns.IP("link", "set", "tun0", "addrgenmode", "none", "up")
	r := openIn(t, ns, LiveOptions{Interfaces: []string{"tun0"}, RingBytes: 1 << 20})[0]
	packet := udpFrame(1, 142)[14:]
	if _, err := tun.Write(packet); err != nil {
		t.Fatal(err)
	}
	got := collect(t, r, 1)[0]
	if diff := cmp.Diff(models.Frame{TS: got.TS, Data: packet, WireLen: 128, Link: models.LinkRaw}, got); diff != "" {
		t.Errorf("frame (-want +got):\n%s", diff)
	}
}

// openTun makes an interface whose packets come from the file.
func openTun(name string) (*os.File, error) {
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(int(tun.Fd()), unix.TUNSETIFF, req)
	}
	if err != nil {
		return nil, errors.Join(err, tun.Close())
	}
	return tun, nil
}

// TestLiveLargeFrames sends what a network card's receive offload would make of a stream.
func TestLiveLargeFrames(t *testing.T) {
	ns := nettest.New(t)
	ns.Veth("va", "vb")
	ns.IP("link", "set", "va", "mtu", "65535")
	ns.IP("link", "set", "vb", "mtu", "65535")
	r := openIn(t, ns, LiveOptions{Interfaces: []string{"vb"}, RingBytes: 8 << 20})[0]
	sender := ns.NewSender("va")
	const n, size = 20, 65_500
	sendAll(t, []*Ring{r}, sender, n, func(i uint32) []byte { return udpFrame(i, size) })
	drain(t, r, func(f *models.Frame) {
		if len(f.Data) != size || f.WireLen != size {
			t.Errorf("%d of %d bytes, want %d", len(f.Data), f.WireLen, size)
		}
	})
	if s := r.Stats(); s.Frames != n {
		t.Errorf("Stats %+v, want %d frames", s, n)
	}
}

func TestLiveAllocations(t *testing.T) {
	ns := nettest.New(t)
	ns.Veth("va", "vb")
	r := openIn(t, ns, LiveOptions{Interfaces: []string{"vb"}, RingBytes: 32 << 20})[0]
	sender := ns.NewSender("va")
	const n, part = 10_000, 4000 // two parts, and the rest of the block in which each ends
	sendAll(t, []*Ring{r}, sender, n, func(i uint32) []byte { return udpFrame(i, 60) })
	b := models.Batch{Frames: make([]models.Frame, 0, 4096)}
	allocs := testing.AllocsPerRun(1, func() { // it runs the function twice
		deadline := time.Now().Add(patience)
		for frames := 0; frames < part; frames += len(b.Frames) {
			if err := r.Read(&b); err != nil || time.Now().After(deadline) {
				t.Fatalf("%d frames of %d, %v", frames, part, err)
			}
		}
	})
	if allocs > part/100 { // a look at the kernel's counters takes one, and there are ten in a second
		t.Errorf("%v allocations for %d frames", allocs, part)
	}
}

// BenchmarkLiveBlock reads one full block of the smallest frames again and again: what a packet costs beside the kernel.
func BenchmarkLiveBlock(b *testing.B) {
	ns := nettest.New(b)
	ns.Veth("va", "vb")
	var rings []*Ring
	var err error
	ns.Do(func() { rings, err = OpenLive(LiveOptions{Interfaces: []string{"vb"}, RingBytes: 4 << 20}) })
	if err != nil {
		b.Fatal(err)
	}
	defer rings[0].teardown()
	sender := ns.NewSender("va")
	s := rings[0].sockets[0]
	for i := uint32(0); !s.ready(); i++ {
		if err := sender.Send(udpFrame(i, 60)); err != nil {
			b.Fatal(err)
		}
	}
	frames := make([]models.Frame, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		frames, _ = s.appendBlock(frames[:0])
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(frames)), "ns/packet")
}

func TestLiveErrors(t *testing.T) {
	ns := nettest.New(t)
	ns.Veth("va", "vb")
	tests := []struct {
		name string
		o    LiveOptions
		want []string
	}{
		{"none", LiveOptions{}, []string{"no interface"}},
		{"unknown", LiveOptions{Interfaces: []string{"va", "eth9"}}, []string{`"eth9"`, "lo, vb, va"}},
		{"impossible name", LiveOptions{Interfaces: []string{strings.Repeat("x", 99)}}, []string{"xxx", "lo"}},
		{"filter", LiveOptions{Interfaces: []string{"va"}, Filter: func(models.LinkType) ([]bpf.RawInstruction, error) {
			return nil, errors.New("bad filter")
		}}, []string{"va", "bad filter"}},
		{"impossible filter", LiveOptions{Interfaces: []string{"va"}, Filter: func(models.LinkType) ([]bpf.RawInstruction, error) {
			return []bpf.RawInstruction{{Op: 0xffff}}, nil
		}}, []string{"va", "filter of 1 instruction"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.RingBytes = 1 << 20
			var err error
			ns.Do(func() { _, err = OpenLive(tt.o) })
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not mention %q", err, want)
				}
			}
		})
	}
}

// TestLivePrivilege gives up the capability on one thread.
func TestLivePrivilege(t *testing.T) {
	var err error
	nettest.New(t).Do(func() {
		if os.Geteuid() == 0 {
			hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var none [2]unix.CapUserData
			if err = unix.Capset(&hdr, &none[0]); err != nil {
				return
			}
		}
		_, err = OpenLive(LiveOptions{Interfaces: []string{"lo"}, RingBytes: 1 << 20})
	})
	exe, exeErr := os.Executable()
	if exeErr != nil {
		t.Fatal(exeErr)
	}
	if !errors.Is(err, ErrPrivilege) {
		t.Fatalf("%v, want ErrPrivilege", err)
	}
	for _, want := range []string{"sudo setcap cap_net_raw+ep " + exe, "./task demo"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not mention %q", err, want)
		}
	}
}

func TestDefaultInterfaces(t *testing.T) {
	ns := nettest.New(t)
	check := func(wantNoRoute bool, want ...string) {
		t.Helper()
		var got []string
		var noRoute bool
		var err error
		ns.Do(func() { got, noRoute, err = DefaultInterfaces() })
		if err != nil {
			t.Fatal(err)
		}
		if noRoute != wantNoRoute {
			t.Errorf("no route: %v", noRoute)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("DefaultInterfaces (-want +got):\n%s", diff)
		}
	}
	check(true, "lo")
	ns.Veth("va", "vb")
	check(true, "lo", "vb", "va")
	ns.IP("-6", "addr", "add", "fd00::1/64", "dev", "va", "nodad")
	ns.IP("-6", "route", "add", "default", "via", "fd00::2", "dev", "va")
	check(false, "va")
	ns.IP("addr", "add", "10.9.0.1/24", "dev", "vb")
	ns.IP("route", "add", "default", "via", "10.9.0.2", "dev", "vb", "metric", "50")
	check(false, "vb")
	ns.IP("addr", "add", "10.7.0.1/24", "dev", "va")
	ns.IP("route", "add", "default", "via", "10.7.0.2", "dev", "va", "metric", "10")
	check(false, "va")
}
