package kafka_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"netlyra/internal/bus"
	"netlyra/internal/bus/kafka"
)

func TestRecordsOnAFakeBroker(t *testing.T) {
	for name, test := range map[string]func(*testing.T, string){
		"foreign records": testForeignRecords, "headers": testHeaders, "the newest of a key": testNewest, "a handover": testHandover,
	} {
		t.Run(name, func(t *testing.T) { test(t, fake(t).ListenAddrs()[0]) })
	}
}

// Topics that are absent are made, as docs/wire-format.md says and as is asked for.
func TestTopicsAreMade(t *testing.T) {
	c := fake(t)
	open(t, kafka.Options{Brokers: c.ListenAddrs(), Partitions: 3, Retention: map[bus.Topic]time.Duration{bus.TopicPackets: time.Minute}})
	for topic, want := range map[bus.Topic]map[string]string{
		bus.TopicPackets: {"cleanup.policy": "delete", "retention.ms": "60000"},
		bus.TopicAlerts:  {"cleanup.policy": "compact,delete", "retention.ms": "2592000000"},
		bus.TopicState:   {"cleanup.policy": "compact", "max.message.bytes": "67108864"},
	} {
		eventually(t, string(topic)+" is not there", func() bool { return c.TopicInfo(string(topic)) != nil })
		info := c.TopicInfo(string(topic))
		got := map[string]string{}
		for name, v := range info.Configs {
			got[name] = *v
		}
		if diff, n := cmp.Diff(want, got), len(c.PartitionInfos(string(topic))); diff != "" || n != 3 {
			t.Errorf("%s: %d partitions, settings (-want +got):\n%s", topic, n, diff)
		}
	}
}

// Topics that are absent and may not be made are a problem that is named, until somebody makes them.
func TestTopicsThatMayNotBeMade(t *testing.T) {
	c := fake(t)
	b, lines := logged(t, kafka.Options{Brokers: c.ListenAddrs(), Topics: []bus.Topic{bus.TopicAlerts}, NoCreate: true})
	eventually(t, "nothing is said", func() bool { return has(b, kafka.TopicMissing) })
	if p := b.Health(); len(p) != 1 || !strings.Contains(p[0].Message, "netlyra.alerts") {
		t.Errorf("%v", p)
	}
	must(t, producer(t, b).Produce(patient(t), alert("a", 1)))
	must(t, c.CreateTopic(string(bus.TopicAlerts), 1, nil))
	eventually(t, "it is still said", func() bool { return len(b.Health()) == 0 })
	must(t, deliver(patient(t), b, alert("a", 2)))
	lines.check(t, kafka.TopicMissing)
}

func TestTopicsThatCannotBeMade(t *testing.T) {
	c := fake(t)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.InvalidReplicationFactor, Count: -1})
	b, _ := logged(t, kafka.Options{Brokers: c.ListenAddrs(), Topics: []bus.Topic{bus.TopicAlerts}})
	eventually(t, "nothing is said", func() bool { return has(b, kafka.TopicMissing) })
	if p := b.Health(); !strings.Contains(p[0].Message, "INVALID_REPLICATION_FACTOR") {
		t.Errorf("%v", p)
	}
}

// A broker that refuses records: they are lost, counted, and it is said why; who waits for them is told.
func TestRecordsThatABrokerRefuses(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, topics()...))
	b, lines := logged(t, kafka.Options{Brokers: c.ListenAddrs()})
	must(t, deliver(patient(t), b, alert("a", 1)))
	refusal := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: string(bus.TopicAlerts), Err: kerr.TopicAuthorizationFailed, Count: -1})
	if err := deliver(patient(t), b, alert("a", 2)); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("deliver: %v", err)
	}
	if d := b.Drops(); len(d) != 1 || d[0].Reason != kafka.DropUndelivered || d[0].Count != 1 {
		t.Errorf("drops %+v", d)
	}
	eventually(t, "nothing is said", func() bool { return has(b, kafka.TopicRefused) })
	lines.check(t, kafka.TopicRefused)
	refusal.Remove()
	must(t, deliver(patient(t), b, alert("a", 3)))
}

// What cannot be read of the newest records is an error: a key that is missing would look like one that has none.
func TestNewestRecordsThatCannotBeRead(t *testing.T) {
	c := fake(t, kfake.SeedTopics(2, topics()...))
	b, _ := logged(t, kafka.Options{Brokers: c.ListenAddrs()})
	for i := range 8 {
		must(t, deliver(patient(t), b, state(fmt.Sprint("sensor-", i), "1")))
	}
	refusal := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: string(bus.TopicState), Err: kerr.TopicAuthorizationFailed, Count: -1})
	if records, err := b.Newest(patient(t), bus.TopicState); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("%d records, %v", len(records), err)
	}
	refusal.Remove()
	if records, err := b.Newest(patient(t), bus.TopicState); err != nil || len(records) != 8 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

// A group that may not commit reads on as soon as it may; until then it is said why it does not.
func TestAGroupThatMayNotCommit(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, topics()...))
	b, lines := logged(t, kafka.Options{Brokers: c.ListenAddrs()})
	must(t, deliver(patient(t), b, alert("a", 1)))
	reader := consumer(t, b, "console", bus.TopicAlerts)
	if _, err := reader.Poll(patient(t)); err != nil {
		t.Fatal(err)
	}
	refusal := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.GroupAuthorizationFailed, Count: -1})
	committed := make(chan error, 1)
	go func() { committed <- reader.Commit(patient(t)) }()
	eventually(t, "nothing is said", func() bool {
		return slices.ContainsFunc(b.Health(), func(p kafka.Problem) bool {
			return p.Code == kafka.TopicRefused && strings.Contains(p.Message, "GROUP_AUTHORIZATION_FAILED")
		})
	})
	refusal.Remove()
	must(t, <-committed)
	lines.check(t, kafka.TopicRefused)
}

// Two programs that read as one are told so, until one of them has gone.
func TestTwoProgramsInAGroup(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for two sessions of a group: run without -short")
	}
	c := fake(t, kfake.SeedTopics(4, topics()...))
	options := kafka.Options{Brokers: c.ListenAddrs()}
	one, lines := logged(t, options)
	consumer(t, one, "console", bus.TopicAlerts)
	two := open(t, options)
	must(t, deliver(patient(t), one, alert("a", 1)))
	other := consumer(t, two, "console", bus.TopicAlerts)
	eventually(t, "nothing is said", func() bool { return has(one, kafka.GroupShared) && has(two, kafka.GroupShared) })
	must(t, other.Close())
	eventually(t, "it is still said", func() bool { return !has(one, kafka.GroupShared) })
	lines.check(t, kafka.GroupShared)
}

// A client that a broker gives no number to, as one that has just started may, fails for good; what waits goes to the next one, in order.
func TestAClientThatFails(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, topics()...))
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.UnknownServerError, Count: 2})
	b, lines := logged(t, kafka.Options{Brokers: c.ListenAddrs()})
	p := producer(t, b)
	ctx := patient(t)
	for rev := range int64(100) {
		must(t, p.Produce(ctx, alert("a", rev+1)))
	}
	must(t, deliver(ctx, b, alert("a", 101)))
	if diff := cmp.Diff(map[string][]int64{"a": sequence(101)}, kept(t, c.ListenAddrs()[0], 101)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if d := b.Drops(); len(d) != 0 {
		t.Errorf("drops %+v", d)
	}
	lines.check(t, kafka.BrokerSlow)
}

// What there is no time for at the end is counted.
func TestWhatIsLeftAtTheEndIsCounted(t *testing.T) {
	b, err := kafka.New(kafka.Options{Brokers: []string{unused(t)}, Drain: time.Millisecond}, kafka.Deps{Log: discard()})
	must(t, err)
	p := producer(t, b)
	for rev := range int64(7) {
		must(t, p.Produce(patient(t), alert("a", rev)))
	}
	must(t, b.Close())
	if d := b.Drops(); len(d) != 1 || d[0].Reason != kafka.DropUndelivered || d[0].Count != 7 {
		t.Errorf("drops %+v", d)
	}
	if err := deliver(patient(t), b, alert("a", 8)); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("deliver: %v", err)
	}
}

// unused is an address that nobody listens at.
func unused(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	return l.Addr().String()
}

// certificate makes one for loopback, which signs itself, as files of certificate and key.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return certFile, keyFile
}

func TestSecureBrokers(t *testing.T) {
	cert, key := certificate(t)
	other, otherKey := certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	encrypted := kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	mutual := kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12})
	scram := []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "netlyra", "right"), kfake.Superuser("SCRAM-SHA-512", "netlyra", "right"), kfake.Superuser("PLAIN", "netlyra", "right")}
	user := func(mechanism, password string) kafka.Options {
		return kafka.Options{SASL: &kafka.SASL{Mechanism: mechanism, User: "netlyra", Password: password}}
	}
	for _, tt := range []struct {
		name    string
		broker  []kfake.Opt
		options kafka.Options
		code    string // "": it works
	}{
		{"TLS", []kfake.Opt{encrypted}, kafka.Options{TLS: &kafka.TLS{CAFile: cert}}, ""},
		{"TLS by another authority", []kfake.Opt{encrypted}, kafka.Options{TLS: &kafka.TLS{CAFile: other}}, kafka.BrokerTLS},
		{"TLS by the system's authorities", []kfake.Opt{encrypted}, kafka.Options{TLS: &kafka.TLS{}}, kafka.BrokerTLS},
		{"TLS to a broker without", nil, kafka.Options{TLS: &kafka.TLS{CAFile: cert}}, kafka.BrokerUnreachable}, // it waits
		{"no TLS to a broker with", []kfake.Opt{encrypted}, kafka.Options{}, kafka.BrokerRefuses},
		{"client's certificate", []kfake.Opt{mutual}, kafka.Options{TLS: &kafka.TLS{CAFile: cert, CertFile: cert, KeyFile: key}}, ""},
		{"another client's certificate", []kfake.Opt{mutual}, kafka.Options{TLS: &kafka.TLS{CAFile: cert, CertFile: other, KeyFile: otherKey}}, kafka.BrokerTLS},
		{"PLAIN", scram, user("PLAIN", "right"), ""},
		{"SCRAM-SHA-256", scram, user("SCRAM-SHA-256", "right"), ""},
		{"SCRAM-SHA-512", scram, user("SCRAM-SHA-512", "right"), ""},
		{"SCRAM with a wrong password", scram, user("SCRAM-SHA-512", "wrong"), kafka.BrokerRefuses},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.options.Brokers, tt.options.Drain = fake(t, tt.broker...).ListenAddrs(), time.Millisecond
			b, lines := logged(t, tt.options)
			if tt.code == "" {
				must(t, deliver(patient(t), b, alert("a", 1)))
				return
			}
			eventually(t, "nothing says so", func() bool { return len(b.Health()) > 0 })
			if p := b.Health(); p[0].Code != tt.code || len(p) != 1 {
				t.Errorf("health %v, want %s", p, tt.code)
			}
			lines.check(t, tt.code)
		})
	}
}

// Everything that is wrong with the options is said at once.
func TestOptions(t *testing.T) {
	cert, key := certificate(t)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	must(t, os.WriteFile(empty, nil, 0o600))
	for _, tt := range []struct {
		name    string
		options kafka.Options
		says    []string
	}{
		{"nothing", kafka.Options{}, []string{"no broker"}},
		{"much", kafka.Options{
			Partitions: -1, Topics: []bus.Topic{"netlyra.none"}, SASL: &kafka.SASL{Mechanism: "GSSAPI"}, TLS: &kafka.TLS{CertFile: cert},
		}, []string{"no broker", "-1 partitions", `no topic "netlyra.none"`, `no SASL mechanism "GSSAPI"`, "user name and a password", "go together"}},
		{"no authority", kafka.Options{Brokers: []string{"localhost"}, TLS: &kafka.TLS{CAFile: "none.pem"}}, []string{"none.pem"}},
		{"an authority without a certificate", kafka.Options{Brokers: []string{"localhost"}, TLS: &kafka.TLS{CAFile: empty}}, []string{empty, "PEM"}},
		{"a key for a certificate", kafka.Options{Brokers: []string{"localhost"}, TLS: &kafka.TLS{CertFile: key, KeyFile: key}}, []string{"client's certificate"}},
		{"an address that is none", kafka.Options{Brokers: []string{"host:port"}}, []string{"port"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := kafka.New(tt.options, kafka.Deps{Log: discard()})
			for _, want := range tt.says {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want one that says %q", err, want)
				}
			}
		})
	}
}

// Without a broker, what waits for it takes no more memory than it may: the bound counts what a record takes beside its bytes.
func TestMemoryStaysFlat(t *testing.T) {
	const bound = 16 << 20
	b := open(t, kafka.Options{Brokers: []string{unused(t)}, BufferBytes: bound, Drain: time.Millisecond})
	p := producer(t, b)
	heap := func() int64 {
		for range 3 { // pools are emptied by the second one
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	taken := 0
	for range 200_000 { // packets of 350 bytes
		if p.TryProduce(bus.Record{Topic: bus.TopicPackets, Key: "sensor-1", Value: bus.Encoded{Data: make([]byte, 350)}}) {
			taken++
		}
	}
	used := heap() - before
	t.Logf("%d records, %d bytes each", taken, used/int64(taken))
	if used > bound*5/4 || used < bound/2 {
		t.Errorf("%d records take %d MB, with a bound of %d", taken, used>>20, bound>>20)
	}
	if d := b.Drops(); len(d) != 1 || d[0].Reason != bus.DropFull || d[0].Count != 200_000-uint64(taken) {
		t.Errorf("%d taken, drops %+v", taken, d)
	}
}

// A broker that answers, but takes no records.
func TestASlowBroker(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for what a broker does not do: run without -short")
	}
	c := fake(t, kfake.SeedTopics(1, topics()...))
	taking := make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		c.SleepControl(func() { <-taking })
		return nil, nil, false
	})
	b, lines := logged(t, kafka.Options{Brokers: c.ListenAddrs()})
	must(t, producer(t, b).Produce(patient(t), alert("a", 1)))
	eventually(t, "nothing says so", func() bool { return has(b, kafka.BrokerSlow) })
	close(taking)
	eventually(t, "it still is", func() bool { return len(b.Health()) == 0 })
	lines.check(t, kafka.BrokerSlow)
}
