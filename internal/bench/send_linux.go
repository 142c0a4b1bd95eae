package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sender puts frames on an interface.
type sender interface {
	method() string
	// run sends until the time is up or ctx ends; of the result it fills Sent and Seconds.
	run(ctx context.Context, o SendOptions) (SendResult, error)
	close() error
}

const (
	burstTime   = time.Millisecond // a burst is of at most as many packets as the rate has in it
	unpaceBurst = 4096             // without a rate
	benchNice   = -20
)

// Send puts the live benchmark's frames on an interface of this process's network namespace, until the time is up or ctx ends. It sends by
// XDP where the kernel can, else by sendmmsg.
func Send(ctx context.Context, o SendOptions) (SendResult, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if o.Core >= 0 {
		var set unix.CPUSet
		set.Set(o.Core)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return SendResult{}, fmt.Errorf("bench: keep to core %d: %w", o.Core, err)
		}
	}
	goFirst(0)
	var s sender
	x, err := newXDPSender(o.Interface)
	if err == nil {
		s = x
	} else {
		p, perr := newPacketSender(o.Interface)
		if perr != nil {
			return SendResult{}, errors.Join(err, perr)
		}
		s = p
	}
	cpu := cpuTime()
	r, err := s.run(ctx, o)
	r.Method, r.CPUSeconds = s.method(), (cpuTime() - cpu).Seconds()
	return r, errors.Join(err, s.close())
}

// pace calls send in bursts, so that the average is the rate: one that comes late is followed by the next at once.
func pace(ctx context.Context, o SendOptions, send func(n int) error) error {
	burst := unpaceBurst
	if o.Rate > 0 {
		burst = max(1, int(int64(o.Rate)*int64(burstTime)/int64(time.Second)))
	}
	total := int64(o.Rate) * int64(o.Duration) / int64(time.Second)
	started := time.Now()
	for sent := int64(0); ctx.Err() == nil; {
		elapsed := time.Since(started)
		n := burst
		if o.Rate > 0 {
			if sent >= total {
				return nil
			}
			due := min(int64(float64(o.Rate)*elapsed.Seconds()), total)
			if n = int(min(int64(burst), due-sent)); n < burst && due < total {
				time.Sleep(time.Duration(float64(burst-n) / float64(o.Rate) * float64(time.Second)))
				continue
			}
		} else if elapsed >= o.Duration {
			return nil
		}
		if err := send(n); err != nil {
			return err
		}
		sent += int64(n)
	}
	return nil
}

// packetSender sends through a packet socket, past the queueing discipline, many frames a call.
type packetSender struct {
	fd       int
	frames   []byte
	vectors  []unix.Iovec
	messages []mmsghdr // of all connections and directions, in random order
	next     int
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

func newPacketSender(ifname string) (*packetSender, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("bench: interface %s: %w", ifname, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("bench: a packet socket: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("bench: send on %s: %w", ifname, err)
	}
	const n = liveConnections * 2
	s := &packetSender{fd: fd, frames: make([]byte, n*liveFrameBytes), vectors: make([]unix.Iovec, n), messages: make([]mmsghdr, n)}
	for i, which := range rand.New(rand.NewPCG(1, 0)).Perm(n) {
		f := s.frames[i*liveFrameBytes:][:liveFrameBytes]
		liveFrame(f, which/2, which%2)
		s.vectors[i] = unix.Iovec{Base: &f[0], Len: liveFrameBytes}
		s.messages[i].header = unix.Msghdr{Iov: &s.vectors[i], Iovlen: 1}
	}
	return s, nil
}

func (s *packetSender) method() string { return "sendmmsg" }

func (s *packetSender) run(ctx context.Context, o SendOptions) (r SendResult, err error) {
	started := time.Now()
	err = pace(ctx, o, func(n int) error {
		sent, err := s.send(n)
		r.Sent += uint64(sent)
		return err
	})
	r.Seconds = time.Since(started).Seconds()
	return r, err
}

func (s *packetSender) send(n int) (int, error) {
	const most = 1024 // the kernel's own limit (UIO_MAXIOV)
	sent := 0
	for sent < n {
		m := s.messages[s.next:min(s.next+min(n-sent, most), len(s.messages))]
		done, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), 0, 0, 0)
		switch {
		case errno == unix.ENOBUFS || errno == unix.EINTR: // the other end is full for the moment
			continue
		case errno != 0:
			return sent, fmt.Errorf("bench: sendmmsg: %w", errno)
		}
		sent += int(done)
		s.next = (s.next + int(done)) % len(s.messages)
	}
	return sent, nil
}

func (s *packetSender) close() error { return unix.Close(s.fd) }
