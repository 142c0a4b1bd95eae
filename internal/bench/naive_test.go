package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"

	"netlyra/internal/capture"
	"netlyra/internal/decode"
	"netlyra/internal/flow"
	"netlyra/internal/models"
)

// The loop that netlyra's CPU time is held against does what it is said to do: its connections over TCP and UDP are those of the flow table, with
// their ends, times, packets and bytes each way, states and entropy, and of the sample it tells the scan and the flood and no more.
func TestTheNaiveLoopSeesWhatTheTableSees(t *testing.T) {
	synth, _ := writeSynth(t, SynthOptions{Bytes: 10 << 20, Connections: 1500})
	for name, path := range map[string]string{"synth": synth, "sample": unpackSample(t)} {
		t.Run(name, func(t *testing.T) {
			got := map[string]float64{}
			n, err := newNaive(func(c *naiveConn) {
				src, dst := c.key.network.Endpoints()
				sport, dport := c.key.transport.Endpoints()
				proto := models.ProtoUDP
				if c.tcp {
					proto = models.ProtoTCP
				}
				got[connText(proto, src.String()+" "+sport.String(), dst.String()+" "+dport.String(), c.first.UnixMicro(), c.last.UnixMicro(), c.packets, c.bytes, c.state)] += c.entropy / max(float64(c.entropyN), 1)
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := n.run(path); err != nil {
				t.Fatal(err)
			}
			want := tableConnections(t, path)
			if d := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-4)); d != "" || len(got) == 0 {
				t.Errorf("%d connections (-table +naive)\n%s", len(got), d)
			}
			found := []string{}
			for a := range n.hosts.alerts {
				found = append(found, fmt.Sprint(a.what, " ", a.host))
			}
			slices.Sort(found)
			alerts := map[string][]string{"synth": {}, "sample": {"flood 10.77.0.10", "port_scan 10.77.0.66"}}[name]
			if d := cmp.Diff(alerts, found); d != "" {
				t.Errorf("alerts (-want +got)\n%s", d)
			}
		})
	}
}

func connText(proto models.Proto, orig, resp string, first, last int64, packets, bytes [2]uint64, state models.ConnState) string {
	return fmt.Sprintf("%v %s > %s %d-%d %v %v %v", proto, orig, resp, first, last, packets, bytes, state)
}

// tableConnections lists the connections over TCP and UDP of a capture as connText has them, and the mean entropy of each.
func tableConnections(t *testing.T, path string) map[string]float64 {
	t.Helper()
	src, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = src.Close() }()
	table, err := flow.New(flow.Options{Records: 20_000, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	var (
		d decode.Decoder
		b models.Batch
	)
	for err == nil {
		err = src.Read(&b)
		for i := range b.Frames {
			var p [1]models.Packet
			if d.Frame(&b.Frames[i], &p[0]) == decode.OK {
				p[0].Entropy = d.Entropy(p[0].Payload)
				table.Update(p[:], nil)
			}
		}
		d.Reset()
	}
	list := map[string]float64{}
	table.Flush(1 << 30)
	for _, r := range table.Drain() {
		if r.Proto == models.ProtoTCP || r.Proto == models.ProtoUDP {
			end := func(a models.Addr, port uint16) string { return fmt.Sprint(a.Netip(), " ", port) }
			list[connText(r.Proto, end(r.Orig, r.OrigPort), end(r.Resp, r.RespPort), r.First, r.Last, r.Packets, r.Bytes, r.State)] += float64(r.EntropySum) / 1e4 / max(float64(r.EntropyN), 1)
		}
	}
	return list
}

// unpackSample writes the capture that ships with the project to a file that pcapgo can read.
func unpackSample(t *testing.T) string {
	t.Helper()
	f, err := os.Open("../../demo/sample.pcap.zst")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	path := filepath.Join(t.TempDir(), "sample.pcap")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.WriteTo(out); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}
