package bench

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// The traffic of the live benchmarks: UDP, frames of 64 bytes with their check sequence, 16,384 connections between 256 hosts and
// 64 others, both directions, in random order, so that no cache helps.
const (
	liveConnections = 16_384
	liveFrameBytes  = smallFrame

	liveInside      = 0x0a000100 // 10.0.1.0, and the low 8 bits of the connection's number
	liveOutside     = 0xc6120000 // 198.18.0.0 (benchmarking, RFC 2544), and the high 6 bits
	liveInsidePort  = 1024       // and the number
	liveOutsidePort = 443
	liveInsideMAC   = 1 // last byte
	liveOutsideMAC  = 2
	liveUDPLength   = liveFrameBytes - ethernetBytes - ipv4Bytes
	ethernetBytes   = 14
	ipv4Bytes       = 20
)

// Offsets of the fields that differ between frames.
const (
	atDstMAC   = 5
	atSrcMAC   = 11
	atIPSum    = 24
	atSrcIP    = 26
	atDstIP    = 30
	atSrcPort  = 34
	atDstPort  = 36
	atUDPLen   = 38
	atUDPBytes = 42
)

// DefaultRate is the number of smallest frames that fit on a link of 1 Gbit/s, per second.
const DefaultRate = 1_488_095

// LiveOptions describe one run of Live.
type LiveOptions struct {
	Rate       int           // packets per second; 0 means as many as can be sent
	Duration   time.Duration // of sending
	Program    []string      // the command that runs Send, to which interface, rate and duration are added
	CPUProfile string        // file for a profile of the pipeline; empty: none
}

// LiveResult is what became of the packets of one run.
type LiveResult struct {
	Method      string  `json:"method"` // of sending: "xdp" or "sendmmsg"
	Sent        uint64  `json:"sent"`
	Arrived     uint64  `json:"arrived"`  // counted by the interface that is watched; fewer than sent: the pair itself was full
	Received    uint64  `json:"received"` // by the ring, with those it then dropped
	Dropped     uint64  `json:"dropped"`  // by the kernel, because the ring was full
	Freezes     uint64  `json:"freezes"`  // how often the ring was full
	Decoded     uint64  `json:"decoded"`
	Connections uint64  `json:"connections"` // opened
	Alerts      uint64  `json:"alerts"`
	Offered     float64 `json:"offered_pps"`
	Seconds     float64 `json:"seconds"` // of sending
	SenderCPU   float64 `json:"sender_cpu_seconds"`
	CPUUser     float64 `json:"cpu_user_seconds"` // of the pipeline's process
	CPUSystem   float64 `json:"cpu_system_seconds"`
	// Threads are the CPU seconds of the threads that used the most, in falling order: the worker's comes first.
	Threads  []float64 `json:"thread_cpu_seconds"`
	Cores    float64   `json:"cores"`    // CPU seconds of the pipeline per second of sending
	Lossless bool      `json:"lossless"` // every packet that arrived was decoded
}

// SendOptions describe what Send puts on an interface.
type SendOptions struct {
	Interface string
	Rate      int // packets per second; 0 means as many as can be sent
	Duration  time.Duration
	Core      int // that the sender, and with it the kernel's receiving half, keeps to; -1: any
}

// SendResult is what Send has done.
type SendResult struct {
	Method     string  `json:"method"`
	Sent       uint64  `json:"sent"`
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"`
}

// liveFrame writes the frame of a connection, from 0 to liveConnections-1, in one direction: 0 from the inside, 1 from the outside.
func liveFrame(f []byte, id, dir int) {
	inside, outside := uint32(liveInside+id&0xff), uint32(liveOutside+id>>8)
	inPort, outPort := uint16(liveInsidePort+id), uint16(liveOutsidePort)
	in, out := byte(liveInsideMAC), byte(liveOutsideMAC)
	if dir == 1 {
		inside, outside, inPort, outPort, in, out = outside, inside, outPort, inPort, out, in
	}
	clear(f[:liveFrameBytes])
	f[0], f[atDstMAC], f[6], f[atSrcMAC] = 2, out, 2, in
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	ip := f[ethernetBytes:]
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], ipv4Bytes+liveUDPLength)
	ip[8], ip[9] = 64, 17
	binary.BigEndian.PutUint32(f[atSrcIP:], inside)
	binary.BigEndian.PutUint32(f[atDstIP:], outside)
	binary.BigEndian.PutUint16(f[atIPSum:], fold(sum16(ip[:ipv4Bytes])))
	binary.BigEndian.PutUint16(f[atSrcPort:], inPort)
	binary.BigEndian.PutUint16(f[atDstPort:], outPort)
	binary.BigEndian.PutUint16(f[atUDPLen:], liveUDPLength) // and no checksum, as RFC 768 allows
	fill(rand.New(rand.NewPCG(1, 0)), f[atUDPBytes:liveFrameBytes])
}
