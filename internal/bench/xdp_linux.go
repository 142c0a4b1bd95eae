package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// What an XDP program says should be done with a frame (enum xdp_action).
const (
	xdpDrop = 1
	xdpPass = 2
)

// xdpSender lets the kernel make the frames: a program in it writes a random connection's addresses into a frame and passes it on to the
// interface, many times a call (BPF_PROG_RUN with BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18). A call takes the kernel about 20 ms of
// tidying up, so the program itself keeps the pace: frames that are not due yet it drops, which takes it some 50 ns.
type xdpSender struct {
	program *ebpf.Program
	paceMap *ebpf.Map
	frame   []byte
}

// xdpPace is what the program keeps between frames: the value of its map.
type xdpPace struct {
	Started uint64 // ns, when it was first run
	Sent    uint64
	Rate    uint64 // packets per second; 0: all at once
	Total   uint64 // after which none is sent
	Last    uint64 // ns, when the clock was last looked at and something was due
	Due     uint64 // packets, by then
}

// newXDPSender loads the program. The calling thread must stay in the interface's network namespace.
func newXDPSender(ifname string) (*xdpSender, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("bench: interface %s: %w", ifname, err)
	}
	s, err := loadXDP(asm.Instructions{
		asm.Mov.Imm(asm.R1, int32(ifi.Index)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
	})
	if err != nil {
		return nil, err
	}
	if err := s.call(1); err != nil { // a kernel that cannot says so now; nothing is sent, since none is due
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *xdpSender) method() string { return "xdp" }

// call runs the program n times.
func (s *xdpSender) call(n int64) error {
	_, err := s.program.Run(&ebpf.RunOptions{
		Data: s.frame, Repeat: uint32(min(n, math.MaxUint32)), Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES,
	})
	if err != nil {
		return fmt.Errorf("bench: send by XDP: %w", err)
	}
	return nil
}

// run sends until the time is up or ctx ends, in few long calls.
func (s *xdpSender) run(ctx context.Context, o SendOptions) (r SendResult, err error) {
	const first = 1 << 20 // runs of the program a call, until it is known how long they take
	p := xdpPace{Rate: uint64(o.Rate), Total: math.MaxUint64}
	if o.Rate > 0 {
		p.Total = uint64(float64(o.Rate) * o.Duration.Seconds())
	}
	if err := s.paceMap.Put(uint32(0), &p); err != nil {
		return r, fmt.Errorf("bench: set the pace: %w", err)
	}
	started := time.Now()
	for n := int64(first); ctx.Err() == nil && p.Sent < p.Total; {
		called := time.Now()
		if err := s.call(n); err != nil {
			return r, err
		}
		if err := s.paceMap.Lookup(uint32(0), &p); err != nil {
			return r, fmt.Errorf("bench: read the pace: %w", err)
		}
		left := o.Duration - time.Since(started)
		if o.Rate == 0 && left <= 0 {
			break
		}
		if o.Rate > 0 {
			each := float64(time.Since(called)) / float64(n)
			n = first + int64(1.05*float64(left)/each) // rather some in vain than one more call
			n = max(n, first)
		}
	}
	r.Sent, r.Seconds = p.Sent, time.Since(started).Seconds()
	if o.Rate > 0 { // without what the last call did in vain
		r.Seconds = time.Duration(p.Last - p.Started).Seconds()
	}
	return r, nil
}

func (s *xdpSender) close() error { return errors.Join(s.program.Close(), s.paceMap.Close()) }

// loadXDP loads the program that makes a frame out of any other of ours, the same as liveFrame does, and then goes on with last.
func loadXDP(last asm.Instructions) (*xdpSender, error) {
	const (
		pace, number, inside, outside, port, frame, sum = asm.R6, asm.R8, asm.R4, asm.R5, asm.R9, asm.R7, asm.R3
		// offsets in xdpPace
		started, sent, rate, total, lastSent, due = 0, 8, 16, 24, 32, 40
	)
	s := &xdpSender{frame: make([]byte, liveFrameBytes)}
	liveFrame(s.frame, 0, 0)
	var err error
	if s.paceMap, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 48, MaxEntries: 1}); err != nil {
		return nil, fmt.Errorf("bench: a map in the kernel: %w", err)
	}
	program := asm.Instructions{
		// if data + length > data_end, give up: the verifier wants to see it
		asm.LoadMem(frame, asm.R1, 0, asm.Word),
		asm.LoadMem(asm.R2, asm.R1, 4, asm.Word),
		asm.Mov.Reg(asm.R3, frame),
		asm.Add.Imm(asm.R3, liveFrameBytes),
		asm.JGT.Reg(asm.R3, asm.R2, "abort"),

		// A frame is due while fewer were sent than were due when the clock was last looked at; else look again: of those that are
		// due by then, (now - started) * rate / 1e9, at most the total.
		asm.LoadMapValue(pace, s.paceMap.FD(), 0),
		asm.LoadMem(number, pace, sent, asm.DWord),
		asm.LoadMem(asm.R1, pace, due, asm.DWord),
		asm.JLT.Reg(number, asm.R1, "send"),
		asm.FnKtimeGetNs.Call(),
		asm.Mov.Reg(asm.R5, asm.R0),
		asm.LoadMem(asm.R1, pace, started, asm.DWord),
		asm.JNE.Imm(asm.R1, 0, "started"),
		asm.StoreMem(pace, started, asm.R0, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R0),
		asm.Sub.Reg(asm.R0, asm.R1).WithSymbol("started"),
		asm.LoadMem(asm.R4, pace, total, asm.DWord),
		asm.LoadMem(asm.R3, pace, rate, asm.DWord),
		asm.Mul.Reg(asm.R0, asm.R3),
		asm.Div.Imm(asm.R0, 1e9),
		asm.JNE.Imm(asm.R3, 0, "paced"),
		asm.Mov.Reg(asm.R0, asm.R4),
		asm.JLE.Reg(asm.R0, asm.R4, "within").WithSymbol("paced"),
		asm.Mov.Reg(asm.R0, asm.R4),
		asm.StoreMem(pace, due, asm.R0, asm.DWord).WithSymbol("within"),
		asm.JGE.Reg(number, asm.R0, "wait"),
		asm.StoreMem(pace, lastSent, asm.R5, asm.DWord),
		asm.Add.Imm(number, 1).WithSymbol("send"),
		asm.StoreMem(pace, sent, number, asm.DWord),

		asm.FnGetPrandomU32.Call(),
		asm.Mov.Reg(number, asm.R0),
		asm.And.Imm(number, liveConnections-1),

		// the checksum of what never differs, of the numbers' bits, and folded (RFC 1071)
		asm.Mov.Reg(inside, number),
		asm.And.Imm(inside, 0xff),
		asm.Mov.Reg(outside, number),
		asm.RSh.Imm(outside, 8),
		asm.Mov.Imm(sum, int32(constantSum())),
		asm.Add.Reg(sum, inside),
		asm.Add.Reg(sum, outside),
	}
	for range 2 {
		program = append(program,
			asm.Mov.Reg(asm.R2, sum),
			asm.RSh.Imm(asm.R2, 16),
			asm.And.Imm(sum, math.MaxUint16),
			asm.Add.Reg(sum, asm.R2),
		)
	}
	program = append(program,
		asm.Xor.Imm(sum, math.MaxUint16),
		asm.HostTo(asm.BE, sum, asm.Half),
		asm.StoreMem(frame, atIPSum, sum, asm.Half),

		asm.Or.Imm(inside, liveInside),
		asm.HostTo(asm.BE, inside, asm.Word),
		asm.LoadImm(asm.R2, liveOutside, asm.DWord),
		asm.Or.Reg(outside, asm.R2),
		asm.HostTo(asm.BE, outside, asm.Word),
		asm.Mov.Reg(port, number),
		asm.Add.Imm(port, liveInsidePort),
		asm.HostTo(asm.BE, port, asm.Half),
		asm.Mov.Imm(asm.R2, liveOutsidePort),
		asm.HostTo(asm.BE, asm.R2, asm.Half),

		asm.RSh.Imm(asm.R0, 31), // one more random bit: the direction
		asm.JEq.Imm(asm.R0, 0, "outwards"),
		asm.StoreMem(frame, atSrcIP, outside, asm.Word),
		asm.StoreMem(frame, atDstIP, inside, asm.Word),
		asm.StoreMem(frame, atSrcPort, asm.R2, asm.Half),
		asm.StoreMem(frame, atDstPort, port, asm.Half),
		asm.StoreImm(frame, atDstMAC, liveInsideMAC, asm.Byte),
		asm.StoreImm(frame, atSrcMAC, liveOutsideMAC, asm.Byte),
		asm.Ja.Label("done"),
		asm.StoreMem(frame, atSrcIP, inside, asm.Word).WithSymbol("outwards"),
		asm.StoreMem(frame, atDstIP, outside, asm.Word),
		asm.StoreMem(frame, atSrcPort, port, asm.Half),
		asm.StoreMem(frame, atDstPort, asm.R2, asm.Half),
		asm.StoreImm(frame, atDstMAC, liveOutsideMAC, asm.Byte),
		asm.StoreImm(frame, atSrcMAC, liveInsideMAC, asm.Byte),
	)
	last[0] = last[0].WithSymbol("done")
	program = append(program, last...)
	program = append(program,
		asm.Mov.Imm(asm.R0, xdpDrop).WithSymbol("wait"),
		asm.Return(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("abort"), // XDP_ABORTED
		asm.Return(),
	)
	s.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "Apache-2.0", Instructions: program})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bench: load the sending program into the kernel: %w", err), s.paceMap.Close())
	}
	return s, nil
}

// constantSum is the sum over the IP header of connection 0 without its checksum.
func constantSum() uint64 {
	f := make([]byte, liveFrameBytes)
	liveFrame(f, 0, 0)
	f[atIPSum], f[atIPSum+1] = 0, 0
	return sum16(f[ethernetBytes : ethernetBytes+ipv4Bytes])
}
