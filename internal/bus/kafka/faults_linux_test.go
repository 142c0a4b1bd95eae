package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"netlyra/internal/bus"
	"netlyra/internal/bus/kafka"
	"netlyra/internal/bus/kafka/kafkatest"
)

// TestAlertsWhileTheBrokerIsKilled: whatever the broker does, every alert arrives, none twice, those of an incident in order; a consumer that reads all the
// time sees every one, too.
func TestAlertsWhileTheBrokerIsKilled(t *testing.T) {
	const incidents = 50
	kills, each := 10, int64(100) // 5,000 alerts
	if testing.Short() {
		kills, each = 1, 10
	}
	broker := kafkatest.Start(t)
	b := open(t, kafka.Options{Brokers: []string{broker.Addr}})
	p, c := producer(t, b), consumer(t, b, "console", bus.TopicAlerts)
	total := incidents * int(each)

	seen, reading := map[string][]int64{}, make(chan error, 1)
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	go func() {
		for n := 0; n < total; {
			records, err := c.Poll(ctx)
			if err == nil {
				for _, r := range records {
					a, _ := r.Value.(bus.Alert)
					if !slices.Contains(seen[a.ID], a.Rev) { // at least once
						seen[a.ID] = append(seen[a.ID], a.Rev)
						n++
					}
				}
				err = c.Commit(ctx)
			}
			if err != nil {
				reading <- fmt.Errorf("after %d of %d alerts: %w", n, total, err)
				return
			}
		}
		reading <- nil
	}()

	done := make(chan struct{})
	go func() { // at a pace that spreads the alerts over all that follows
		defer close(done)
		for rev := range each {
			for i := range incidents {
				if err := p.Produce(ctx, alert(fmt.Sprintf("incident-%d", i), rev+1)); err != nil {
					t.Errorf("produce: %v", err)
					return
				}
			}
			time.Sleep(time.Duration(kills) * 4 * time.Second / time.Duration(each))
		}
	}()
	for range kills {
		time.Sleep(200 * time.Millisecond)
		must(t, broker.Kill())
		must(t, broker.Restart())
	}
	<-done
	select {
	case err := <-reading:
		must(t, err)
	case <-time.After(patience):
		stop()
		t.Errorf("the consumer waits: %v, health %v, drops %v", <-reading, b.Health(), b.Drops())
	}
	got := kept(t, broker.Addr, total)
	for i := range incidents {
		id := fmt.Sprintf("incident-%d", i)
		if diff := cmp.Diff(sequence(each), got[id]); diff != "" {
			t.Errorf("%s on the broker (-want +got):\n%s", id, diff)
		}
		if diff := cmp.Diff(sequence(each), seen[id]); diff != "" {
			t.Errorf("%s as it was read (-want +got):\n%s", id, diff)
		}
	}
	if d := b.Drops(); len(d) != 0 {
		t.Errorf("drops %+v", d)
	}
}

func TestFaultsOfABroker(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Kafka and waits for what it does not do: run without -short")
	}
	broker := kafkatest.Start(t)
	options := kafka.Options{Brokers: []string{broker.Addr}, Partitions: 4}
	admin := client(t, broker.Addr)
	for _, tt := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"absent at the start", func(t *testing.T) {
			must(t, broker.Kill())
			b, lines := logged(t, options)
			p := producer(t, b)
			must(t, p.Produce(patient(t), alert("a", 1)))
			eventually(t, "nothing says that there is no broker", func() bool { return has(b, kafka.BrokerUnreachable) })
			must(t, broker.Restart())
			eventually(t, fmt.Sprintf("there is a broker, and still %v", b.Health()), func() bool { return len(b.Health()) == 0 })
			if got := kept(t, broker.Addr, 1); len(got["a"]) != 1 {
				t.Errorf("the broker has %v", got)
			}
			lines.check(t, kafka.BrokerUnreachable)
		}},
		{"stands still", func(t *testing.T) {
			o := options
			o.BufferBytes = 64 << 10
			b, lines := logged(t, o)
			p := producer(t, b)
			must(t, deliver(patient(t), b, alert("before", 1)))
			must(t, broker.Signal(syscall.SIGSTOP))
			defer func() { must(t, broker.Signal(syscall.SIGCONT)) }()
			taken := int64(0)
			for ; p.TryProduce(alert("a", taken+1)); taken++ {
				if taken == 100_000 {
					t.Fatal("the buffer has no bound")
				}
			}
			eventually(t, "nothing says that records are lost", func() bool { return has(b, kafka.BufferFull) })
			eventually(t, "nothing says that the broker does not answer", func() bool { return has(b, kafka.BrokerUnreachable) })
			must(t, broker.Signal(syscall.SIGCONT))
			got := kept(t, broker.Addr, int(taken)+1)
			if diff := cmp.Diff(sequence(taken), got["a"]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			eventually(t, "it still is", func() bool { return !has(b, kafka.BrokerUnreachable) })
			lines.check(t, kafka.BrokerUnreachable)
			if d := b.Drops(); len(d) != 1 || d[0].Count != 1 || d[0].Reason != bus.DropFull {
				t.Errorf("drops %+v", d)
			}
		}},
		{"a topic removed", func(t *testing.T) {
			b, _ := logged(t, options)
			p, c := producer(t, b), consumer(t, b, "g", bus.TopicAlerts)
			ctx := patient(t)
			must(t, deliver(ctx, b, alert("before", 1)))
			records, err := c.Poll(ctx)
			must(t, err)
			if len(records) != 1 {
				t.Fatalf("%d records", len(records))
			}
			must(t, c.Commit(ctx))
			deleteTopics(ctx, t, admin, string(bus.TopicAlerts))
			const each = 300
			for rev := range int64(each) {
				must(t, p.Produce(ctx, alert("a", rev+1)))
				time.Sleep(20 * time.Millisecond) // until long after the topic is there again
			}
			must(t, deliver(ctx, b, alert("after", 1)))
			got := kept(t, broker.Addr, each+1)
			if diff := cmp.Diff(sequence(each), got["a"]); diff != "" {
				t.Errorf("on the broker (-want +got):\n%s", diff)
			}
			var read []int64
			for len(read) < each {
				records, err := c.Poll(ctx)
				must(t, err)
				for _, r := range records {
					if a, ok := r.Value.(bus.Alert); ok && a.ID == "a" {
						read = append(read, a.Rev)
					}
				}
				must(t, c.Commit(ctx))
			}
			if diff := cmp.Diff(sequence(each), read); diff != "" {
				t.Errorf("as it was read (-want +got):\n%s", diff)
			}
			if d := b.Drops(); len(d) != 0 {
				t.Errorf("drops %+v", d)
			}
		}},
		{"foreign records", func(t *testing.T) { testForeignRecords(t, broker.Addr) }},
		{"headers", func(t *testing.T) { testHeaders(t, broker.Addr) }},
		{"the newest of a key", func(t *testing.T) { testNewest(t, broker.Addr) }},
		{"a handover", func(t *testing.T) { testHandover(t, broker.Addr) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			deleteTopics(patient(t), t, admin, topics()...)
			tt.run(t)
		})
	}
}

// A link that is slow, and then one that breaks again and again: every alert arrives, once, in order.
func TestABrokerBehindABadLink(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Kafka: run without -short")
	}
	link := freeAddr(t)
	broker := kafkatest.Start(t, "advertised.listeners=PLAINTEXT://"+link)
	nothing := zerolog.Nop()
	proxy := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), nothing), "kafka", link, broker.Addr)
	must(t, proxy.Start())
	defer proxy.Stop()
	b, _ := logged(t, kafka.Options{Brokers: []string{link}})
	p := producer(t, b)
	toxic := func(name, text string) (remove func()) {
		t.Helper()
		_, err := proxy.Toxics.AddToxicJson(strings.NewReader(text))
		must(t, err)
		return func() { must(t, proxy.Toxics.RemoveToxic(context.Background(), name)) }
	}
	rev := int64(0)
	produce := func(n int) {
		t.Helper()
		for range n {
			rev++
			must(t, p.Produce(patient(t), alert("a", rev)))
		}
	}
	heal := toxic("slow", `{"name":"slow","type":"latency","stream":"downstream","attributes":{"latency":400,"jitter":200}}`)
	produce(500)
	must(t, deliver(patient(t), b, alert("slow", 1)))
	heal()
	for range 10 {
		heal := toxic("reset", `{"name":"reset","type":"reset_peer","stream":"upstream","attributes":{"timeout":50}}`)
		for range 10 {
			produce(10)
			time.Sleep(30 * time.Millisecond)
		}
		heal()
		produce(50)
	}
	must(t, deliver(patient(t), b, alert("reset", 1)))
	got := kept(t, broker.Addr, int(rev)+2)
	if diff := cmp.Diff(sequence(rev), got["a"]); diff != "" || rev != 2000 {
		t.Errorf("%d alerts (-want +got):\n%s", rev, diff)
	}
	if d := b.Drops(); len(d) != 0 {
		t.Errorf("drops %+v", d)
	}
	eventually(t, "it is still said that something is wrong", func() bool { return !has(b, kafka.BrokerUnreachable) })
}

// The broker's disk is full, and the broker ends: what it has acknowledged is there when there is room again, and what waited arrives.
func TestABrokerWhoseDiskIsFull(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Kafka: run without -short")
	}
	if os.Getuid() != 0 {
		const remedy = "a small disk for Kafka is mounted by root: run as root"
		if os.Getenv("CI") == "true" {
			t.Fatal(remedy)
		}
		t.Skip(remedy)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	must(t, os.Mkdir(disk, 0o700))
	must(t, syscall.Mount("none", disk, "tmpfs", 0, "size=64m"))
	t.Cleanup(func() { must(t, syscall.Unmount(disk, syscall.MNT_DETACH)) })
	broker := kafkatest.Start(t, "log.dirs="+filepath.Join(disk, "log"))
	b, _ := logged(t, kafka.Options{Brokers: []string{broker.Addr}, Partitions: 1})
	rev := int64(0)
	for ; rev < 100; rev++ {
		must(t, deliver(patient(t), b, alert("a", rev+1)))
	}
	filler := filepath.Join(disk, "filler")
	f, err := os.Create(filler)
	must(t, err)
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	must(t, f.Close())
	p := producer(t, b)
	for eventually := time.Now().Add(patience); !has(b, kafka.BrokerUnreachable) && !has(b, kafka.BrokerSlow); rev++ {
		must(t, p.Produce(patient(t), alert("a", rev+1)))
		if time.Sleep(10 * time.Millisecond); time.Now().After(eventually) {
			t.Fatalf("the broker goes on on a full disk, health %v", b.Health())
		}
	}
	must(t, os.Remove(filler))
	must(t, broker.Kill())
	must(t, broker.Restart())
	must(t, deliver(patient(t), b, alert("after", 1)))
	if diff := cmp.Diff(sequence(rev), kept(t, broker.Addr, int(rev)+1)["a"]); diff != "" {
		t.Errorf("%d alerts (-want +got):\n%s", rev, diff)
	}
	if d := b.Drops(); len(d) != 0 {
		t.Errorf("drops %+v", d)
	}
}

// freeAddr is an address of loopback that nobody listens to.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { must(t, l.Close()) }()
	return l.Addr().String()
}

func TestWrongCredentialsAtABroker(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Kafka: run without -short")
	}
	broker := kafkatest.Start(t,
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_PLAINTEXT", "sasl.enabled.mechanisms=PLAIN", "sasl.mechanism.inter.broker.protocol=PLAIN",
		`listener.name.plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required `+
			`username="broker" password="of-the-broker" user_broker="of-the-broker" user_netlyra="right";`)
	for _, tt := range []struct {
		name string
		sasl *kafka.SASL
		code string
	}{
		{"right", &kafka.SASL{Mechanism: "PLAIN", User: "netlyra", Password: "right"}, ""},
		{"wrong password", &kafka.SASL{Mechanism: "PLAIN", User: "netlyra", Password: "wrong"}, kafka.BrokerRefuses},
		{"another mechanism", &kafka.SASL{Mechanism: "SCRAM-SHA-512", User: "netlyra", Password: "right"}, kafka.BrokerRefuses},
		{"no credentials", nil, kafka.BrokerRefuses},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, lines := logged(t, kafka.Options{Brokers: []string{broker.Addr}, SASL: tt.sasl, Drain: time.Millisecond})
			if tt.code == "" {
				must(t, deliver(patient(t), b, alert("a", 1)))
				return
			}
			must(t, producer(t, b).Produce(patient(t), alert("a", 1)))
			eventually(t, "nothing says so", func() bool { return has(b, tt.code) })
			for _, p := range b.Health() {
				if strings.Contains(p.Message, "right") || strings.Contains(p.Message, "wrong") {
					t.Errorf("the message has the password: %s", p.Message)
				}
			}
			lines.check(t, tt.code)
		})
	}
}
