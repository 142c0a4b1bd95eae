package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/bus"
	"netlyra/internal/capture"
	"netlyra/internal/detect"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
)

// emittedSlot is what --emit packets says of a slot.
type emittedSlot struct {
	mark    bus.Watermark
	packets []string // sorted: between workers there is no order
}

// emittedPackets reads the output of --emit packets: packets, then the watermark of their slot. Slots without packets are left out.
func emittedPackets(t *testing.T, stdout string) (slots []emittedSlot) {
	t.Helper()
	var slot emittedSlot
	marked := true
	for line := range strings.Lines(stdout) {
		var rec bus.PacketRecord
		if _, err := bus.DecodePacket([]byte(strings.TrimSuffix(line, "\n")), &rec, nil); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if marked = rec.Watermark; !marked {
			slot.packets = append(slot.packets, line)
			continue
		}
		if len(slot.packets) > 0 {
			slot.mark = rec.Mark
			slot.mark.Received = 0 // how far the reader is ahead is a matter of chance
			slices.Sort(slot.packets)
			slots = append(slots, slot)
		}
		slot = emittedSlot{}
	}
	if !marked {
		t.Error("the last packets have no watermark")
	}
	return slots
}

// The packets and their slots do not depend on the number of workers, and nothing else is on standard output.
func TestEmitPackets(t *testing.T) {
	office := officeCapture(t, 7, 0.1)
	for _, file := range []string{sample, office} {
		var want []emittedSlot
		for _, workers := range []string{"1", "4"} {
			path := filepath.Join(t.TempDir(), "summary.json")
			stdout, stderr, status := netlyra(t, "analyze", "--emit", "packets", "--sensor", "s", "--workers", workers, "--summary", path, file)
			if status != exitOK || !strings.Contains(stderr, "alerts:") {
				t.Fatalf("exit status %d: %s", status, stderr)
			}
			got := emittedPackets(t, stdout)
			packets := uint64(0)
			for _, s := range got {
				packets += uint64(len(s.packets))
			}
			if n := readSummary(t, path).Packets; packets == 0 || packets > n || packets < n*9/10 { // those that are not IP are not packets
				t.Errorf("%d packets of %d", packets, n)
			}
			if want == nil {
				want = got
			}
			if d := cmp.Diff(want, got, cmp.AllowUnexported(emittedSlot{})); d != "" {
				t.Errorf("%s: %s workers (-1 +%s)\n%.4000s", file, workers, workers, d)
			}
		}
	}
}

// officeCapture makes the labelled traffic of an office.
func officeCapture(t *testing.T, seed int, hours float64) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "office.pcap")
	if _, stderr, status := netlyra(t, "bench", "office", "--seed", strconv.Itoa(seed), "--hours", strconv.FormatFloat(hours, 'f', -1, 64), "--output", file); status != exitOK {
		t.Fatal(stderr)
	}
	return file
}

// A filter leaves packets out, several files follow one another.
func TestEmitPacketsOfFilesAndFilters(t *testing.T) {
	count := func(args ...string) (n int) {
		stdout, stderr, status := netlyra(t, append([]string{"analyze", "--emit", "packets"}, args...)...)
		if status != exitOK {
			t.Fatal(stderr)
		}
		for _, s := range emittedPackets(t, stdout) {
			n += len(s.packets)
		}
		return n
	}
	all, tcp := count(sample), count("--filter", "tcp", sample)
	if tcp == 0 || tcp >= all {
		t.Errorf("%d packets of %d are TCP's", tcp, all)
	}
	if twice := count(sample, sample); twice != 2*all {
		t.Errorf("the file twice has %d packets, once %d", twice, all)
	}
}

// gone is a reader of standard output that reads some and goes.
type gone struct{ left int }

var errGone = errors.New("gone")

func (g *gone) Write(b []byte) (int, error) {
	if g.left -= len(b); g.left < 0 {
		return 0, errGone
	}
	return len(b), nil
}

// Whoever does not take the records ends the reading, which does not go on to the end of the file.
func TestEmitEndsWithItsReader(t *testing.T) {
	for _, emit := range []string{"packets", "slots"} {
		var errs bytes.Buffer
		path := filepath.Join(t.TempDir(), "summary.json")
		p := &program{stdin: strings.NewReader(""), stdout: &gone{left: 100_000}, stderr: &errs}
		files := slices.Repeat([]string{sample}, 50)
		status := p.run(context.Background(), append([]string{"analyze", "--emit", emit, "--summary", path}, files...))
		if status != exitFailed || !strings.Contains(errs.String(), "--emit: gone") {
			t.Errorf("%s: exit status %d, %s", emit, status, &errs)
		}
		if s := readSummary(t, path); s.Packets == 0 || s.Packets > 400_000 {
			t.Errorf("%s: %d packets were read", emit, s.Packets)
		}
	}
}

// recordedSlots are the slots of a capture, copied.
func recordedSlots(t testing.TB, file string, workers int) (slots []models.SensorSlot) {
	t.Helper()
	f, err := capture.OpenFile(file, capture.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	pipe, err := pipeline.New(pipeline.Options{
		Sensor: "s", Sources: []pipeline.Source{f}, Workers: workers, Wait: true,
		Outputs: pipeline.Outputs{Records: pipeline.Records{Slots: func(_ context.Context, s *models.SensorSlot) error {
			c := *s
			c.Parts = slices.Clone(s.Parts)
			for i, p := range c.Parts {
				c.Parts[i] = models.SlotPart{Conns: slices.Clone(p.Conns), Failed: slices.Clone(p.Failed), ARP: slices.Clone(p.ARP), DNS: slices.Clone(p.DNS), Unheard: p.Unheard}
			}
			slots = append(slots, c)
			return nil
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := pipe.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	return slots
}

// judged are the last revisions of the alerts that a detector gives that knows nothing but a stream of slots.
func judged(t *testing.T, stream string, o detect.Options) map[string]models.Alert {
	t.Helper()
	final := map[string]models.Alert{}
	keep := func(alerts []models.Alert) {
		for _, a := range alerts {
			final[a.ID] = a
		}
	}
	keep(judge(t, stream, o, keep).Finish())
	return final
}

// judge gives the revisions that a detector has of each slot of a stream to keep. Nothing is closed yet because the stream has ended.
func judge(t *testing.T, stream string, o detect.Options, keep func([]models.Alert)) *detect.Judge {
	t.Helper()
	j, err := detect.NewJudge(o)
	if err != nil {
		t.Fatal(err)
	}
	var acc detect.Accumulator
	eachSlot(t, stream, func(s *models.SensorSlot) {
		acc.Take(&s.Parts[0])
		keep(j.Slot(s.N, []*detect.Accumulator{&acc}, s.Received, s.Lost))
	})
	return j
}

// eachSlot gives each slot of a stream to do; it is valid until that returns.
func eachSlot(t *testing.T, stream string, do func(*models.SensorSlot)) {
	t.Helper()
	r, err := bus.NewSlotReader(strings.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		s, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		do(s)
	}
}

// A detector elsewhere that reads the slots gives the same alerts as the one in the process.
func TestADetectorOfEmittedSlots(t *testing.T) {
	files, least := []string{sample}, 1
	if !testing.Short() {
		more, _ := filepath.Glob("../../../shared/captures/attack/*")
		files, least = append(files, append(more, officeCapture(t, 42, 0.5))...), 50
	}
	all := 0
	for _, file := range files {
		for _, profile := range []string{"full", "core"} {
			for _, workers := range []string{"1", "4"} {
				args := []string{"--sensor", "s", "--profile", profile, "--alert-budget", "2000", "--workers", workers, "--quiet", file}
				stdout, _, _ := netlyra(t, append([]string{"analyze", "--format", "jsonl"}, args...)...)
				want := map[string]models.Alert{}
				for line := range strings.Lines(stdout) {
					a, err := bus.DecodeAlert([]byte(line), time.Now())
					if err != nil {
						t.Fatal(err)
					}
					want[a.ID] = *a
				}
				stream, _, _ := netlyra(t, append([]string{"analyze", "--emit", "slots"}, args...)...)
				o := detect.Options{Sensor: "s", Seed: analysisSeed, BudgetDay: 2000}
				if profile == "core" {
					o.Without = detect.NotInCore
				}
				got := judged(t, stream, o)
				for _, alerts := range []map[string]models.Alert{want, got} {
					for id, a := range alerts { // what the pipeline adds: the connection's id, and the file's own time
						a.CommunityID, a.TS, a.LastTS = "", 0, 0
						alerts[id] = a
					}
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s, %s, %s workers (-process +slots)\n%.2000s", file, profile, workers, d)
				}
				all += len(want)
			}
		}
	}
	if all < least {
		t.Errorf("%d alerts in all: they show little", all)
	}
}

// What a row takes at 1 Gbit/s depends on which rows are beside each other. In the order in which they come a row has 27 B here.
func TestSlotsAreSmall(t *testing.T) {
	file := filepath.Join(t.TempDir(), "synth.pcap")
	if _, stderr, status := netlyra(t, "bench", "synth", "--size", "50MB", "--output", file); status != exitOK {
		t.Fatal(stderr)
	}
	rows, size := 0, 0
	enc, err := bus.NewSlotEncoder("sensor-1", 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range recordedSlots(t, file, 1) {
		for _, p := range s.Parts {
			rows += len(p.Conns) + len(p.Failed) + len(p.ARP) + len(p.DNS)
		}
		if err := enc.Encode(&s, func(_ bus.SlotKind, record []byte) error {
			size += len(record)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if per := float64(size) / float64(rows); rows < 10_000 || per > 22 {
		t.Errorf("%d rows of %.1f B", rows, per)
	}
}

// BenchmarkSlotEncoder: what slots cost, on a link at 1 Gbit/s, where rows count, and in an office, where records do.
func BenchmarkSlotEncoder(b *testing.B) {
	for _, tc := range []struct {
		name string
		args []string
	}{
		{"1Gbit", []string{"bench", "synth", "--size", "50MB"}},
		{"office", []string{"bench", "office", "--hours", "0.1"}},
	} {
		b.Run(tc.name, func(b *testing.B) {
			file := filepath.Join(b.TempDir(), "x.pcap")
			p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
			if status := p.run(context.Background(), append(tc.args, "--output", file)); status != exitOK {
				b.Fatal("no capture")
			}
			slots := recordedSlots(b, file, 1)
			rows, records, size := 0, 0, 0
			enc, err := bus.NewSlotEncoder("sensor-1", 1)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				s := &slots[i%len(slots)]
				for _, p := range s.Parts {
					rows += len(p.Conns) + len(p.Failed) + len(p.ARP) + len(p.DNS)
				}
				if err := enc.Encode(s, func(_ bus.SlotKind, record []byte) error {
					records++
					size += len(record)
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			}
			ns := float64(b.Elapsed().Nanoseconds())
			b.ReportMetric(ns/float64(rows), "ns/row")
			b.ReportMetric(ns/float64(records), "ns/record")
			b.ReportMetric(float64(size)/float64(rows), "B/row")
			b.ReportMetric(float64(size)/float64(records), "B/record")
		})
	}
}

// python is the interpreter that has what tools/requirements.txt lists.
func python(t *testing.T) string {
	t.Helper()
	path := "../../tools/.venv/bin/python"
	if _, err := os.Stat(path); err != nil {
		const remedy = "no tools/.venv: ./task python:check makes it"
		if os.Getenv("CI") == "true" {
			t.Fatal(remedy)
		}
		t.Skip(remedy)
	}
	return path
}

// PyArrow and DuckDB see in a stream of slots what the sensor saw.
func TestPyArrowAndDuckDBReadSlots(t *testing.T) {
	interpreter := python(t)
	for _, capture := range []string{sample, officeCapture(t, 7, 0.1)} {
		stdout, stderr, status := netlyra(t, "analyze", "--emit", "slots", capture)
		if status != exitOK {
			t.Fatal(stderr)
		}
		file := filepath.Join(t.TempDir(), "slots.zst")
		if err := os.WriteFile(file, []byte(stdout), 0o600); err != nil {
			t.Fatal(err)
		}
		c := exec.CommandContext(t.Context(), interpreter, "testdata/slots.py", file)
		c.Stderr = os.Stderr
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(seenBySensor(t, capture)), string(out)); d != "" {
			t.Errorf("%s (-sensor +Python)\n%s", capture, d)
		}
	}
}

// seenBySensor is what testdata/slots.py must print.
func seenBySensor(t *testing.T, capture string) []byte {
	t.Helper()
	var rows struct{ conns, dns, arp, began, through, failed, before, answers, names int }
	bytes, entropy, start := new(big.Int), new(big.Int), new(big.Int)
	hosts, macs := map[models.Addr]bool{}, map[string]bool{}
	slots := recordedSlots(t, capture, 1)
	count := func(n *int, is bool) {
		if is {
			*n++
		}
	}
	for _, s := range slots {
		for _, p := range s.Parts {
			for _, c := range slices.Concat(p.Conns, p.Failed) {
				rows.conns++
				count(&rows.began, c.Opens())
				count(&rows.through, c.GetsThrough())
				count(&rows.failed, c.Failed)
				count(&rows.before, c.Before != 0)
				hosts[c.Orig] = true
				bytes.Add(bytes, new(big.Int).SetUint64(c.Up.Bytes+c.Down.Bytes))
				entropy.Add(entropy, new(big.Int).SetUint64(c.Up.EntropySum))
				start.Add(start, big.NewInt(c.Start))
			}
			for _, q := range p.DNS {
				rows.dns++
				rows.names += int(q.Len)
				count(&rows.answers, q.Answer)
			}
			for _, o := range p.ARP {
				rows.arp++
				macs[o.MAC.String()] = true
			}
		}
	}
	list, err := json.Marshal(slices.Sorted(maps.Keys(macs)))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, `{"seqs": true, "slots": %d, "rows": [%d, %d, %d], "conns": [%d, %d, %d, %d, %d, "%s", "%s", %d, "%s"], "dns": [%d, %d], "macs": %s}`,
		len(slots), rows.conns, rows.dns, rows.arp, rows.conns, rows.began, rows.through, rows.failed, len(hosts), bytes, entropy, rows.before, start, rows.names, rows.answers,
		strings.ReplaceAll(string(list), ",", ", "))
}

// sums are what one slot adds up to, whichever stream one reads.
type sums struct {
	slot                               int64
	epoch                              uint64
	packets, began, through, arp       int
	bytes, payload, entropy, withBytes uint64
}

// The two streams tell the same of each slot: who counts packets has what the connections' rows have.
func TestPacketsAndSlotsAgree(t *testing.T) {
	for _, capture := range []string{sample, officeCapture(t, 42, 0.1)} {
		args := []string{"--workers", "3", "--quiet", capture}
		packets, _, _ := netlyra(t, append([]string{"analyze", "--emit", "packets"}, args...)...)
		stream, _, _ := netlyra(t, append([]string{"analyze", "--emit", "slots"}, args...)...)
		byPacket, bySlot := sumsOfPackets(t, packets), sumsOfSlots(t, stream)
		if d := cmp.Diff(byPacket, bySlot, cmp.AllowUnexported(sums{})); d != "" || len(bySlot) < 100 {
			t.Errorf("%s: %d slots (-packets +slots)\n%.2000s", capture, len(bySlot), d)
		}
	}
}

func sumsOfPackets(t *testing.T, lines string) (all []sums) {
	t.Helper()
	var s sums
	for line := range strings.Lines(lines) {
		var rec bus.PacketRecord
		if _, err := bus.DecodePacket([]byte(strings.TrimSuffix(line, "\n")), &rec, nil); err != nil {
			t.Fatal(err)
		}
		p := &rec.Packet
		switch {
		case rec.Watermark:
			s.slot, s.epoch = rec.Mark.Slot, rec.Mark.Epoch
			all = append(all, s)
			s = sums{}
		case p.Proto == models.ProtoARP:
			s.arp++
		default:
			s.packets++
			s.bytes += uint64(p.WireLen)
			s.payload += uint64(p.PayloadLen)
			if p.PayloadLen > 0 {
				s.withBytes++
				s.entropy += uint64(p.Entropy)
			}
			if p.ConnNew {
				s.began++
			}
			if p.ConnEstablished {
				s.through++
			}
		}
	}
	return all
}

func sumsOfSlots(t *testing.T, stream string) (all []sums) {
	t.Helper()
	eachSlot(t, stream, func(slot *models.SensorSlot) {
		p := &slot.Parts[0]
		s := sums{slot: slot.N, epoch: slot.Epoch, arp: len(p.ARP)}
		for i := range p.Conns {
			c := &p.Conns[i]
			for _, d := range []models.SlotDir{c.Up, c.Down} {
				s.packets += int(d.Packets)
				s.bytes += d.Bytes
				s.payload += d.Payload
				s.entropy += d.EntropySum
				s.withBytes += uint64(d.EntropyN)
			}
			if c.Opens() {
				s.began++
			}
			if c.GetsThrough() {
				s.through++
			}
		}
		all = append(all, s)
	})
	return all
}
