package bench

import (
	"bufio"
	"errors"
	"io"
	"math"
	"os"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"netlyra/internal/models"
)

// naiveLoop is the plain loop that one writes first for what `analyze` does: gopacket's NewPacket with its default options, connections and
// hosts in maps, entropy with logarithms, every packet judged as it comes. It is naive, not made slow: nothing is computed twice,
// and counts of byte values are an array. Connections begin, turn and end by the rules of package flow, which a test holds against it. It does
// less than `analyze` where more would not be plain: no ICMP, fragments or hellos; no scaler, tails or guard; no limits but those on what fails; no
// beacons, uploads or tunnels. It does more in one thing: trees see every packet, not every second of a host.
type naiveLoop struct {
	open   map[naiveKey]*naiveConn
	second int64
	ended  func(*naiveConn)
	hosts  naiveHosts

	packets, bytes, connections uint64
}

type naiveKey struct {
	network, transport gopacket.Flow
}

func (k naiveKey) reverse() naiveKey { return naiveKey{k.network.Reverse(), k.transport.Reverse()} }

// naiveConn is a connection; in pairs the initiator's value comes first.
type naiveConn struct {
	key         naiveKey // from the initiator to the responder
	tcp         bool
	state       models.ConnState
	finished    [2]bool
	completed   bool
	first, last time.Time
	packets     [2]uint64
	bytes       [2]uint64
	entropy     float64 // sum over the packets with payload
	entropyN    uint64
}

func newNaive(ended func(*naiveConn)) (*naiveLoop, error) {
	hosts, err := newNaiveHosts()
	return &naiveLoop{open: map[naiveKey]*naiveConn{}, ended: ended, hosts: hosts}, err
}

// naive runs the loop over a file.
func (r *Result) naive(path string) error {
	n, err := newNaive(func(*naiveConn) {})
	if err != nil {
		return err
	}
	if err := n.run(path); err != nil {
		return err
	}
	r.Packets, r.Bytes, r.Connections, r.Alerts = n.packets, n.bytes, n.connections, uint64(len(n.hosts.alerts))
	return nil
}

func (n *naiveLoop) run(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	src, err := pcapgo.NewReader(bufio.NewReader(f))
	if err != nil {
		return err
	}
	for {
		data, info, err := src.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		n.packet(gopacket.NewPacket(data, src.LinkType(), gopacket.Default), info)
	}
	for _, c := range n.open {
		n.ended(c)
	}
	return nil
}

func (n *naiveLoop) packet(p gopacket.Packet, info gopacket.CaptureInfo) {
	n.packets++
	n.bytes += uint64(info.Length)
	if second := info.Timestamp.Unix(); second > n.second {
		n.second = second
		n.expire(info.Timestamp)
		n.hosts.expire(info.Timestamp)
	}
	network, transport := p.NetworkLayer(), p.TransportLayer()
	if network == nil || transport == nil {
		return
	}
	tcp, _ := transport.(*layers.TCP)
	key := naiveKey{network.NetworkFlow(), transport.TransportFlow()}
	c, opened := n.connection(key, tcp, info.Timestamp)
	d := 0
	if c.key != key {
		d = 1
	}
	if info.Timestamp.After(c.last) {
		c.last = info.Timestamp
	}
	c.packets[d]++
	c.bytes[d] += uint64(info.Length)
	payload := transport.LayerPayload()
	h := 0.0
	if len(payload) > 0 {
		h = naiveEntropy(payload)
		c.entropy += h
		c.entropyN++
	}
	completed := c.turn(tcp, d) && !c.completed
	c.completed = c.completed || completed
	n.hosts.packet(naiveEvent{c.key, info.Timestamp, d, uint64(info.Length), len(payload) > 0, h, opened, completed})
}

// connection finds or begins the connection of a packet.
func (n *naiveLoop) connection(key naiveKey, tcp *layers.TCP, now time.Time) (c *naiveConn, opened bool) {
	c = n.open[key]
	if c == nil {
		c = n.open[key.reverse()]
	}
	if c != nil {
		again := tcp != nil && tcp.SYN && !tcp.ACK && c.over()
		if now.Sub(c.last) <= c.idle() && !again {
			return c, false
		}
		n.end(c)
	}
	if naiveAnswer(tcp) {
		key = key.reverse()
	}
	c = &naiveConn{key: key, tcp: tcp != nil, first: now, last: now}
	n.open[key] = c
	n.connections++
	return c, true
}

// naiveAnswer says whether the first packet of a connection comes from its responder.
func naiveAnswer(tcp *layers.TCP) bool {
	switch {
	case tcp == nil:
		return false
	case tcp.SYN:
		return tcp.ACK
	}
	return !tcp.RST && tcp.SrcPort < 1024 && tcp.DstPort >= 1024
}

// turn takes the state of a connection on by a packet in direction d, and says whether the connection has got through.
func (c *naiveConn) turn(tcp *layers.TCP, d int) bool {
	switch {
	case tcp == nil || c.state == models.ConnReset:
	case tcp.RST:
		c.state = models.ConnReset
	case tcp.FIN:
		c.finished[d] = true
		c.state = models.ConnClosing
		if c.finished[0] && c.finished[1] {
			c.state = models.ConnClosed
		}
	case tcp.SYN && tcp.ACK && c.state <= models.ConnSynReceived:
		c.state = models.ConnSynReceived
	case tcp.SYN && c.packets[0]+c.packets[1] == 1:
		c.state = models.ConnSynSent
	case !tcp.SYN && c.state == models.ConnSynReceived && d == 0:
		c.state = models.ConnEstablished
	}
	switch c.state {
	case models.ConnEstablished:
		return true
	case models.ConnSynSent, models.ConnSynReceived, models.ConnReset:
		return false
	default: // no handshake, or none seen
		return d == 1
	}
}

// idle is how long a connection may be silent.
func (c *naiveConn) idle() time.Duration {
	switch {
	case !c.tcp:
		return 60 * time.Second
	case c.over():
		return 10 * time.Second
	case c.state == models.ConnSynSent || c.state == models.ConnSynReceived:
		return 30 * time.Second
	}
	return 300 * time.Second
}

func (c *naiveConn) over() bool { return c.state == models.ConnClosed || c.state == models.ConnReset }

// expire goes through all connections, once a second, and ends those that have been silent for too long.
func (n *naiveLoop) expire(now time.Time) {
	for _, c := range n.open {
		if now.Sub(c.last) > c.idle() {
			n.end(c)
		}
	}
}

func (n *naiveLoop) end(c *naiveConn) {
	delete(n.open, c.key)
	n.ended(c)
}

func naiveEntropy(b []byte) float64 {
	var counts [256]int
	for _, v := range b {
		counts[v]++
	}
	h := 0.0
	for _, c := range counts {
		if c > 0 {
			q := float64(c) / float64(len(b))
			h -= q * math.Log2(q)
		}
	}
	return h
}
