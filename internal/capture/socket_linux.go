package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"netlyra/internal/models"
)

type filterFunc = func(models.LinkType) ([]bpf.RawInstruction, error)

// Fields of struct tpacket_block_desc and struct tpacket3_hdr (linux/if_packet.h), in the machine's byte order.
const (
	blockStatus = 8
	blockCount  = 12
	blockFirst  = 16

	frameNext   = 0
	frameSec    = 4
	frameNsec   = 8
	frameSnap   = 12
	frameLen    = 16
	frameStatus = 20
	frameMac    = 24
	frameTCI    = 32
	frameTPID   = 36
)

const (
	vlanTPID     = 0x8100 // what a tag has if the kernel does not say
	vlanTagBytes = 4
)

// Link states, as socket.link holds them.
const (
	linkUp int32 = iota
	linkDown
	linkGone
)

// socket is a packet socket on one interface, with its ring.
type socket struct {
	name   string
	index  uint16  // of the interface in the options
	group  *fanout // nil: one worker takes everything
	blocks int

	fd      int // -1: the interface is gone and a new socket is needed when it is back
	ring    []byte
	block   int // the next one to read
	ifindex int
	hw      hardware
	high    int64 // capture time up to which all has been delivered, µs

	link                       atomic.Int32
	received, dropped, freezes atomic.Uint64
}

// hardware is how packets of an interface come.
type hardware struct {
	typ  uint16 // ARPHRD_ constant
	link models.LinkType
	sock int // SOCK_RAW, or SOCK_DGRAM to get packets from their network header on
}

// hardwareOf decides on an interface's type. Tunnels and PPP have headers of their own or none, depending on the
// driver; there the kernel is asked to begin with the IP header.
func hardwareOf(typ uint16) (hardware, bool) {
	switch typ {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return hardware{typ, models.LinkEthernet, unix.SOCK_RAW}, true
	case unix.ARPHRD_IEEE80211_RADIOTAP:
		return hardware{typ, models.LinkRadiotap, unix.SOCK_RAW}, true
	case unix.ARPHRD_NONE, unix.ARPHRD_RAWIP, unix.ARPHRD_PPP, unix.ARPHRD_TUNNEL, unix.ARPHRD_TUNNEL6,
		unix.ARPHRD_SIT, unix.ARPHRD_IPGRE, unix.ARPHRD_IP6GRE:
		return hardware{typ, models.LinkRaw, unix.SOCK_DGRAM}, true
	default:
		return hardware{}, false
	}
}

// open makes the socket and its ring, and starts to receive.
func (s *socket) open(filter filterFunc) error {
	typ, err := hardwareType(s.name)
	if err != nil {
		return err
	}
	hw, ok := hardwareOf(typ)
	if !ok {
		return fmt.Errorf("capture: interface %s is of hardware type %d (ARPHRD), which cannot be decoded; Ethernet, loopback, 802.11 radiotap, PPP and IP tunnels can",
			s.name, typ)
	}
	// With protocol 0 nothing arrives before bind has named the interface.
	fd, err := unix.Socket(unix.AF_PACKET, hw.sock|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return privilegeError()
	}
	if err != nil {
		return fmt.Errorf("capture: open a packet socket for %s: %w", s.name, err)
	}
	s.fd, s.hw, s.block = fd, hw, 0
	err = s.setUp()
	if err == nil {
		err = s.start(filter)
	}
	if err != nil {
		s.close()
		return fmt.Errorf("capture: interface %s: %w", s.name, err)
	}
	return nil
}

func privilegeError() error {
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	return fmt.Errorf("capture: watching an interface needs root or CAP_NET_RAW; run this once: sudo setcap cap_net_raw+ep %s — or see it work without: ./task demo (%w)",
		exe, ErrPrivilege)
}

// setUp makes the ring.
func (s *socket) setUp() error {
	if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("TPACKET_V3: %w", err)
	}
	const frame = 2048 // the kernel wants a size, but packs frames of any size into a block
	size := s.blocks * blockBytes
	req := unix.TpacketReq3{
		Block_size: blockBytes, Block_nr: uint32(s.blocks),
		Frame_size: frame, Frame_nr: uint32(size / frame),
		Retire_blk_tov: uint32(blockTimeout.Milliseconds()),
	}
	if err := unix.SetsockoptTpacketReq3(s.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("a ring of %d MiB: %w", size>>20, err)
	}
	ring, err := unix.Mmap(s.fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map a ring of %d MiB: %w", size>>20, err)
	}
	s.ring = ring
	if s.hw.typ != unix.ARPHRD_LOOPBACK {
		return nil
	}
	// What the loopback sends it also receives: without this each packet would come twice.
	if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return fmt.Errorf("PACKET_IGNORE_OUTGOING (Linux 4.20): %w", err)
	}
	return nil
}

// start binds the socket and lets packets in. Until the socket has joined its fan-out group it would get every packet,
// so a filter keeps all out before.
func (s *socket) start(filter filterFunc) error {
	s.mute()
	if err := s.bind(); err != nil {
		return err
	}
	if s.group != nil {
		if err := s.group.join(s.fd, s.ifindex); err != nil {
			return fmt.Errorf("PACKET_FANOUT: %w", err)
		}
	}
	var program []bpf.RawInstruction
	if filter != nil {
		var err error
		if program, err = filter(s.hw.link); err != nil {
			return fmt.Errorf("filter: %w", err)
		}
	}
	if len(program) == 0 {
		program = []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K, K: 1<<31 - 1}} // all of every packet
	}
	return s.attach(program)
}

// mute keeps every packet out.
func (s *socket) mute() {
	if s.fd >= 0 {
		// It can fail for want of memory only; packets would then come a little longer.
		_ = s.attach([]bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K, K: 0}})
	}
}

func (s *socket) attach(program []bpf.RawInstruction) error {
	raw := make([]unix.SockFilter, len(program))
	for i, ins := range program {
		raw[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	prog := unix.SockFprog{Len: uint16(len(raw)), Filter: &raw[0]}
	if err := unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("attach a filter of %d instructions: %w", len(raw), err)
	}
	return nil
}

// bind ties the socket to the interface that has its name now, and asks that one for all packets it hears.
func (s *socket) bind() error {
	ifindex, flags, err := s.lookUp()
	if err != nil {
		return err
	}
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL)) // network order
	if err := unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifindex}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	mreq := unix.PacketMreq{Ifindex: int32(ifindex), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(s.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq); err != nil {
		return fmt.Errorf("promiscuous mode: %w", err)
	}
	s.ifindex = ifindex
	s.setLink(flags)
	return nil
}

// lookUp asks for the index and the flags of the interface that has the socket's name.
func (s *socket) lookUp() (ifindex int, flags uint16, err error) {
	req, err := unix.NewIfreq(s.name)
	if err != nil {
		return 0, 0, err
	}
	if err := unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, 0, err
	}
	ifindex = int(req.Uint32())
	if err := unix.IoctlIfreq(s.fd, unix.SIOCGIFFLAGS, req); err != nil {
		return 0, 0, err
	}
	return ifindex, req.Uint16(), nil
}

func (s *socket) setLink(flags uint16) {
	const running = unix.IFF_UP | unix.IFF_RUNNING
	if flags&running == running {
		s.link.Store(linkUp)
	} else {
		s.link.Store(linkDown)
	}
}

func (s *socket) linkState() string {
	switch s.link.Load() {
	case linkUp:
		return "up"
	case linkDown:
		return "down"
	default:
		return "gone"
	}
}

// follow looks how the interface is, and takes up one that has been made anew. Where that fails, it is tried again at
// the next look: the interface may vanish at any moment.
func (s *socket) follow(filter filterFunc) {
	if s.fd < 0 {
		if s.open(filter) != nil {
			s.link.Store(linkGone)
		}
		return
	}
	ifindex, flags, err := s.lookUp()
	switch {
	case err != nil:
		s.link.Store(linkGone)
	case ifindex == s.ifindex:
		s.setLink(flags)
	default:
		s.renew(filter)
	}
}

// renew goes over to a new interface of the same name. Binding the old socket again needs no privilege and loses nothing
// of what its ring holds, but the kernel refuses it for members of a fan-out group; and an interface of another type
// needs another kind of socket.
func (s *socket) renew(filter filterFunc) {
	if typ, err := hardwareType(s.name); err == nil && typ == s.hw.typ && s.group == nil && s.bind() == nil {
		return
	}
	if s.ready() {
		return // first deliver what the old ring holds
	}
	s.readStats()
	s.close()
	if s.open(filter) != nil {
		s.link.Store(linkGone)
	}
}

// takeError clears the error that the kernel reports when the interface goes down; poll would return at once for ever.
func (s *socket) takeError() {
	_, _ = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
}

// readStats adds the kernel's counters, which it resets with each look.
func (s *socket) readStats() {
	if s.fd < 0 {
		return
	}
	st, err := unix.GetsockoptTpacketStatsV3(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return // it cannot fail on a packet socket
	}
	s.received.Add(uint64(st.Packets))
	s.dropped.Add(uint64(st.Drops))
	s.freezes.Add(uint64(st.Freeze_q_cnt))
}

func (s *socket) close() {
	if s.ring != nil {
		_ = unix.Munmap(s.ring)
		s.ring = nil
	}
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
		s.fd = -1
	}
}

// status is the word by which the kernel and we hand a block to each other.
func (s *socket) status() *uint32 {
	return (*uint32)(unsafe.Pointer(&s.ring[s.block*blockBytes+blockStatus]))
}

// ready tells whether the next block is ours.
func (s *socket) ready() bool {
	return s.ring != nil && atomic.LoadUint32(s.status())&unix.TP_STATUS_USER != 0
}

// release gives the block back that appendBlock has read.
func (s *socket) release() {
	if s.ring == nil {
		return
	}
	atomic.StoreUint32(s.status(), unix.TP_STATUS_KERNEL)
	s.block = (s.block + 1) % s.blocks
}

// advance moves the time on up to which all has been delivered. It goes back only if the machine's clock did.
func (s *socket) advance(ts int64) {
	const jump = 1_000_000
	if ts > s.high || s.high-ts > jump {
		s.high = ts
	}
}

// appendBlock appends the frames of the block that is ready, and sums their length on the wire.
func (s *socket) appendBlock(frames []models.Frame) ([]models.Frame, uint64) {
	block := s.ring[s.block*blockBytes:][:blockBytes]
	n := binary.NativeEndian.Uint32(block[blockCount:])
	at := binary.NativeEndian.Uint32(block[blockFirst:])
	var wire uint64
	var last int64
	for range n {
		h := block[at:]
		mac := uint32(binary.NativeEndian.Uint16(h[frameMac:]))
		end := mac + binary.NativeEndian.Uint32(h[frameSnap:])
		status := binary.NativeEndian.Uint32(h[frameStatus:])
		f := models.Frame{
			TS:      int64(binary.NativeEndian.Uint32(h[frameSec:]))*1e6 + int64(binary.NativeEndian.Uint32(h[frameNsec:])/1000),
			Data:    h[mac:end:end],
			WireLen: binary.NativeEndian.Uint32(h[frameLen:]),
			Link:    s.hw.link,
			Iface:   s.index,
		}
		if status&unix.TP_STATUS_VLAN_VALID != 0 {
			f.WireLen += vlanTagBytes
			f.TCI = uint16(binary.NativeEndian.Uint32(h[frameTCI:]))
			f.TPID = vlanTPID
			if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
				f.TPID = binary.NativeEndian.Uint16(h[frameTPID:])
			}
		}
		wire += uint64(f.WireLen)
		last = f.TS
		frames = append(frames, f)
		at += binary.NativeEndian.Uint32(h[frameNext:])
	}
	if n > 0 {
		s.advance(last)
	}
	return frames, wire
}

// fanout is the group in which the workers' sockets share one interface's packets.
type fanout struct {
	mu      sync.Mutex
	ifindex int
	id      uint16
}

// join adds a socket to the group of the interface. The kernel picks the number of a new one, so that it meets no other
// program's group, with which it would share the packets.
func (g *fanout) join(fd, ifindex int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ifindex == ifindex {
		return unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT, int(g.id)|unix.PACKET_FANOUT_HASH<<16)
	}
	const kind = unix.PACKET_FANOUT_HASH | unix.PACKET_FANOUT_FLAG_UNIQUEID
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT, kind<<16); err != nil {
		return err
	}
	got, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	if err != nil {
		return err
	}
	g.id, g.ifindex = uint16(got), ifindex
	return nil
}

// hardwareType asks for an interface's ARPHRD_ constant. It needs no privilege.
func hardwareType(name string) (uint16, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, unknownInterface(name)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("capture: socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	switch err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, req); {
	case errors.Is(err, unix.ENODEV):
		return 0, unknownInterface(name)
	case err != nil:
		return 0, fmt.Errorf("capture: hardware type of %s: %w", name, err)
	}
	return req.Uint16(), nil // the family of the address
}

func unknownInterface(name string) error {
	all, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("capture: there is no interface %q, and the others cannot be listed: %w", name, err)
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return fmt.Errorf("capture: %w %q; there are: %s", ErrNoInterface, name, strings.Join(names, ", "))
}
