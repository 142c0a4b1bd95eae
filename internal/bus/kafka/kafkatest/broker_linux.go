package kafkatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Broker is a Kafka that can be made to stand still, killed, and started again on its data.
type Broker struct {
	// Addr is where clients connect; it stays over a restart.
	Addr string

	tools   string // the project's folder of tools
	dir     string // of its properties, log and data
	libs    string // Java's class path
	process *os.Process
	exited  chan struct{} // closed when process has ended
	out     *os.File
}

// startWithin is for a Java that starts beside other tests.
const startWithin = 2 * time.Minute

// Start starts a broker, with further lines of its properties, and ends it with the test. Without Java or Maven the test is skipped, with the remedy; it fails
// where CI=true says that everything must run.
func Start(t testing.TB, properties ...string) *Broker {
	t.Helper()
	for program, remedy := range map[string]string{"java": "openjdk-17-jre-headless", "mvn": "maven"} {
		if _, err := exec.LookPath(program); err != nil {
			unavailable(t, "no "+program+": install it to run a Kafka (apt-get install "+remedy+")")
		}
	}
	dir, err := os.MkdirTemp("", "netlyra-kafka-") //nolint:usetesting // whose folders have the test's name, in which Kafka takes a comma for the end of a path
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	b := &Broker{tools: toolsDir(t), dir: dir}
	libs, err := exec.CommandContext(t.Context(), filepath.Join(b.tools, "kafka.sh"), "fetch").Output()
	if err != nil {
		unavailable(t, fmt.Sprintf("Kafka cannot be fetched: tools/kafka.sh fetch says why (%v)", err))
	}
	b.libs = filepath.Join(strings.TrimSpace(string(libs)), "*")
	must(t, b.format(t.Context(), properties))
	b.out, err = os.Create(filepath.Join(b.dir, "out"))
	must(t, err)
	t.Cleanup(func() {
		must(t, b.Kill())
		must(t, b.out.Close())
	})
	must(t, b.Restart())
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func unavailable(t testing.TB, remedy string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(remedy)
	}
	t.Skip(remedy)
}

// toolsDir is the project's folder of tools, whatever package the test is of.
func toolsDir(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	must(t, err)
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "tools")
		}
	}
	t.Fatal("the test is not in the project")
	return ""
}

// format writes the broker's properties and an empty log.
func (b *Broker) format(ctx context.Context, more []string) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	b.Addr = fmt.Sprintf("127.0.0.1:%d", ports[0])
	controller := fmt.Sprintf("127.0.0.1:%d", ports[1])
	properties := append([]string{
		"process.roles=broker,controller", "node.id=1", "controller.quorum.voters=1@" + controller,
		"listeners=PLAINTEXT://" + b.Addr + ",CONTROLLER://" + controller, "advertised.listeners=PLAINTEXT://" + b.Addr,
		"controller.listener.names=CONTROLLER", "inter.broker.listener.name=PLAINTEXT",
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
		"log.dirs=" + filepath.Join(b.dir, "log"), "auto.create.topics.enable=false", "offsets.topic.num.partitions=1",
		"offsets.topic.replication.factor=1", "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
		"share.coordinator.state.topic.replication.factor=1", "share.coordinator.state.topic.min.isr=1", "group.initial.rebalance.delay.ms=0",
		"broker.session.timeout.ms=1000", "broker.heartbeat.interval.ms=200", // until then a killed broker is not let in again
	}, more...)
	if err := os.WriteFile(b.properties(), []byte(strings.Join(properties, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	const id = "AAAAAAAAAAAAAAAAAAAAAQ" // 16 bytes in base64; no other cluster is near
	out, err := exec.CommandContext(ctx, "java", "-cp", b.libs, "kafka.tools.StorageTool", "format", "-t", id, "-c", b.properties()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("kafkatest: format: %w: %s", err, out)
	}
	return nil
}

// freePorts are ports of loopback that nobody listens at.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // it has served its purpose
		addr, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			return nil, fmt.Errorf("kafkatest: %v is no address of TCP", l.Addr())
		}
		ports = append(ports, addr.Port)
	}
	return ports, nil
}

func (b *Broker) properties() string { return filepath.Join(b.dir, "server.properties") }

// Restart starts a broker that has been killed, and waits until it answers.
func (b *Broker) Restart() error {
	before, err := b.starts()
	if err != nil {
		return err
	}
	c := exec.CommandContext(context.Background(), "java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", // which start sooner
		"-Dlog4j2.configurationFile="+filepath.Join(b.tools, "kafka", "log4j2.properties"), "-cp", b.libs, "kafka.Kafka", b.properties())
	c.Stdout, c.Stderr = b.out, b.out
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it ends with the tests, however they end
	if err := c.Start(); err != nil {
		return err
	}
	b.process, b.exited = c.Process, make(chan struct{})
	go func() {
		_ = c.Wait() // it is always killed
		close(b.exited)
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(startWithin)
	for {
		if n, err := b.starts(); err != nil || n > before {
			return err
		}
		select {
		case <-tick.C:
			continue
		case <-b.exited:
		case <-late:
		}
		return fmt.Errorf("kafkatest: the broker does not start: %s", b.log())
	}
}

// starts is how often the broker has said that it has started.
func (b *Broker) starts() (int, error) {
	said, err := os.ReadFile(b.out.Name())
	return bytes.Count(said, []byte("Kafka Server started")), err
}

// log is what the broker has said last.
func (b *Broker) log() []byte {
	said, err := os.ReadFile(b.out.Name())
	if err != nil {
		return []byte(err.Error())
	}
	return said[max(0, len(said)-4096):]
}

// LogBytes is what the broker has of a topic, as it came over the wire.
func (b *Broker) LogBytes(t testing.TB, topic string) (n int64) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(b.dir, "log", topic+"-*", "*.log"))
	must(t, err)
	for _, s := range segments {
		info, err := os.Stat(s)
		must(t, err)
		n += info.Size()
	}
	return n
}

// Signal sends a signal to the broker: with SIGSTOP it stands still, with SIGCONT it goes on.
func (b *Broker) Signal(s syscall.Signal) error { return b.process.Signal(s) }

// Kill ends the broker at once, as a crash would. Restart starts it on what it has left.
func (b *Broker) Kill() error {
	if b.process == nil {
		return nil
	}
	if err := b.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-b.exited
	return nil
}
