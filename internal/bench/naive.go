package bench

import (
	"errors"
	"io"
	"math"
	"os"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"netlyra/internal/detect/hst"
)

// naiveFlow is what the naive loop keeps of a connection.
type naiveFlow struct {
	first, last      time.Time
	packets, bytes   uint64
	payload, entropy float64
}

type naiveKey struct {
	network, transport gopacket.Flow
}

// naive is the plain loop that one writes first: gopacket's NewPacket with its default options, a map of flows, entropy with logarithms,
// trees for every packet. Flows are bidirectional, counts are an array: it is naive, not made slow.
func (r *Result) naive(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	src, err := pcapgo.NewReader(f)
	if err != nil {
		return err
	}
	trees, err := hst.New(hst.Options{Trees: 25, Height: 8, Features: 4, Seed: 1})
	if err != nil {
		return err
	}
	flows := map[naiveKey]*naiveFlow{}
	x := make([]float64, 4)
	for {
		data, info, err := src.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		r.Packets++
		r.Bytes += uint64(info.Length)
		p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
		network, transport := p.NetworkLayer(), p.TransportLayer()
		if network == nil || transport == nil {
			continue
		}
		key := naiveKey{network.NetworkFlow(), transport.TransportFlow()}
		fl := flows[key]
		if fl == nil {
			if fl = flows[naiveKey{key.network.Reverse(), key.transport.Reverse()}]; fl == nil {
				fl = &naiveFlow{first: info.Timestamp}
				flows[key] = fl
			}
		}
		payload := transport.LayerPayload()
		h := naiveEntropy(payload)
		fl.last = info.Timestamp
		fl.packets++
		fl.bytes += uint64(info.Length)
		fl.payload += float64(len(payload))
		fl.entropy += h
		x[0], x[1] = h/8, float64(len(payload))/1500
		x[2], x[3] = math.Min(float64(fl.packets)/1000, 1), math.Min(float64(fl.bytes)/1e6, 1)
		if trees.Score(x) > 0.999 {
			r.Alerts++
		}
		trees.Learn(x)
	}
	r.Connections = uint64(len(flows))
	return nil
}

func naiveEntropy(b []byte) float64 {
	if len(b) == 0 {
		return 0
	}
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
