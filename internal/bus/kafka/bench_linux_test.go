package kafka_test

import (
	"bytes"
	"context"
	"flag"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"netlyra/internal/bus"
	"netlyra/internal/bus/kafka"
	"netlyra/internal/bus/kafka/kafkatest"
	"netlyra/internal/capture"
	"netlyra/internal/flow"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
)

var captureFile = flag.String("capture", "../../../demo/sample.pcap.zst", "the capture whose packets and slots are published by the benchmarks")

// load is what a capture is published as: what is produced again and again.
type load struct {
	records []bus.Record
	packets int // in all of them
	rows    int // of slots
}

// publishable reads a capture, up to some 200,000 packets, as records of packets or of slots.
func publishable(b *testing.B, slots bool) (l load) {
	b.Helper()
	f, err := capture.OpenFile(*captureFile, capture.FileOptions{})
	must(b, err)
	defer func() { must(b, f.Close()) }()
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	add := func(topic bus.Topic, kind bus.SlotKind, data []byte) {
		l.records = append(l.records, bus.Record{Topic: topic, Key: "sensor-1", Value: bus.Encoded{Kind: kind, Data: slices.Clone(data)}})
	}
	encoder, err := bus.NewSlotEncoder("sensor-1", 1)
	must(b, err)
	records := pipeline.Records{
		Packets: func(_ context.Context, _ *models.SensorSlot, rs [][]byte) error {
			for _, r := range rs {
				for line := range bytes.Lines(r) {
					l.packets++
					if !slots {
						add(bus.TopicPackets, "", bytes.TrimSuffix(line, []byte("\n")))
					}
				}
			}
			if l.packets > 200_000 {
				stop()
			}
			return nil
		},
		EncodePacket: func() func([]byte, *models.PacketMeta, []byte) []byte {
			e := bus.NewPacketEncoder("sensor-1")
			return func(dst []byte, p *models.PacketMeta, arena []byte) []byte {
				return append(e.Append(dst, p, arena), '\n')
			}
		},
	}
	if slots {
		records.Slots = func(_ context.Context, s *models.SensorSlot) error {
			for _, p := range s.Parts {
				l.rows += len(p.Conns) + len(p.Failed) + len(p.DNS) + len(p.ARP)
			}
			return encoder.Encode(s, func(kind bus.SlotKind, record []byte) error {
				add(bus.TopicSlots, kind, record)
				return nil
			})
		}
	}
	p, err := pipeline.New(pipeline.Options{
		Sensor: "sensor-1", Sources: []pipeline.Source{f}, Workers: 1, Wait: true, Flow: flow.Options{MaxConnections: 1 << 18}, Outputs: pipeline.Outputs{Records: records},
		Links: func() []models.Interface { return nil },
	})
	must(b, err)
	must(b, p.Run(ctx))
	if len(l.records) == 0 {
		b.Fatalf("%s has no packets", *captureFile)
	}
	return l
}

// cpu is the time that this process has had processors for.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// publish produces the load to a real Kafka, which is another process, until the benchmark has run long enough. What it costs is the time of this process's
// processors, encoding excluded; what it takes on the wire is what the broker has on its disk.
func publish(b *testing.B, l load) {
	broker := kafkatest.Start(b)
	kb := open(b, kafka.Options{Brokers: []string{broker.Addr}, Partitions: 1})
	p := producer(b, kb)
	ctx := b.Context()
	must(b, deliver(ctx, kb, l.records[0])) // it is connected, and the topic is there
	runtime.GC()
	before, size := cpu(), broker.LogBytes(b, string(l.records[0].Topic))
	start, passes := time.Now(), 0
	for b.Loop() {
		for i := range l.records {
			must(b, p.Produce(ctx, l.records[i]))
		}
		passes++
	}
	must(b, deliver(ctx, kb, l.records[0])) // behind all others: one key, one partition
	spent, took := cpu()-before, time.Since(start)
	n := float64(passes)
	bytes := float64(broker.LogBytes(b, string(l.records[0].Topic)) - size)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(bytes/n/float64(l.packets), "B/packet")
	b.ReportMetric(float64(spent.Nanoseconds())/1e3/n/float64(l.packets), "cpu-µs/packet")
	b.ReportMetric(n*float64(l.packets)/took.Seconds()/1e3, "kpackets/s")
	if l.rows > 0 {
		b.ReportMetric(float64(spent.Nanoseconds())/1e3/n/float64(l.rows), "cpu-µs/row")
		b.ReportMetric(float64(spent.Nanoseconds())/1e3/n/float64(len(l.records)), "cpu-µs/record")
		b.ReportMetric(bytes/n/float64(l.rows), "B/row")
	}
	if d := kb.Drops(); len(d) != 0 {
		b.Errorf("drops %+v", d)
	}
}

func BenchmarkPublishPackets(b *testing.B) { publish(b, publishable(b, false)) }

func BenchmarkPublishSlots(b *testing.B) { publish(b, publishable(b, true)) }
