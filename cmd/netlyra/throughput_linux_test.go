package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"netlyra/internal/bus"
	"netlyra/internal/bus/kafka/kafkatest"
	"netlyra/internal/models"
)

// spent is the processor time of a program that has ended.
func spent(c *exec.Cmd) time.Duration { return c.ProcessState.UserTime() + c.ProcessState.SystemTime() }

// What waits in the broker when a console begins: ended connections of ten sensors, and incidents.
func TestThroughputOfAConsole(t *testing.T) {
	measured(t)
	const sensors, each = 10, 1000 // connections of a sensor that are told together
	now := models.Micros(time.Now().UnixMicro())
	example, err := os.ReadFile("../../docs/wire-format/alert-port-scan.json")
	if err != nil {
		t.Fatal(err)
	}
	var template models.Alert
	if err := json.Unmarshal(example, &template); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		table string
		rows  int
		make  func(first int) []bus.Record // of the next rows, each of them
	}{
		{"connections", 300_000, func(first int) []bus.Record {
			cs := make([]models.Connection, each)
			for i := range cs {
				n := first + i
				cs[i] = models.Connection{
					ID: int64(n + 1), SrcIP: fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255), DstIP: "198.51.100.7", SrcPort: uint16(n), DstPort: 443, Proto: "TCP",
					SrcMAC: "02:00:00:00:00:01", DstMAC: "02:00:00:00:00:02", CommunityID: "1:LQU9qZlK+B5F3KDmev6m5PMibrg=", State: "closed", End: models.ConnDone, FirstTS: now, LastTS: now,
					PacketsUp: 12, PacketsDown: 14, BytesUp: 1800, BytesDown: 9000, FlagsUp: "ACK,FIN,PSH,SYN", FlagsDown: "ACK,FIN,PSH,SYN", Entropy: 7.2, SNI: "www.example.org", JA4: "t13d1516h2_8daaf6152771_e5627efa2ab1",
				}
			}
			return []bus.Record{{Topic: bus.TopicConnections, Key: fmt.Sprintf("sensor-%d", first/each%sensors), Value: bus.Connections{Boot: 1, Now: now, Changed: cs}}}
		}},
		{"alerts", 50_000, func(first int) (rs []bus.Record) {
			for i := range each {
				a := template
				a.ID, a.Sensor, a.TS, a.LastTS = fmt.Sprintf("%016x", first+i), fmt.Sprintf("sensor-%d", (first+i)%sensors), now, now
				rs = append(rs, bus.Record{Topic: bus.TopicAlerts, Key: a.ID, Value: bus.Alert{Alert: &a}})
			}
			return rs
		}},
	} {
		t.Run(tc.table, func(t *testing.T) {
			broker := kafkatest.Start(t)
			b := openKafka(t, broker.Addr)
			for first := 0; first < tc.rows; first += each {
				for _, err := range b.Deliver(t.Context(), tc.make(first)) {
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			database := filepath.Join(t.TempDir(), "console.db")
			start := time.Now()
			console := startCommand(t, nil, []string{
				"serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--ws-listen", "off", "--database", database, "--console", "c", "--brokers", broker.Addr,
			})
			until(t, "all "+tc.table, func() bool { return countRows(t, database, tc.table) >= tc.rows })
			took := time.Since(start)
			console.terminate()
			t.Logf("%d %s: %.1f s, %.0f a second; %.0f µs of processor time each, start and end included; %d bytes of the topic each", tc.rows, tc.table, took.Seconds(), float64(tc.rows)/took.Seconds(),
				float64(spent(console.cmd).Microseconds())/float64(tc.rows), broker.LogBytes(t, "netlyra."+tc.table)/int64(tc.rows))
			if n := countRows(t, database, tc.table); n != tc.rows {
				t.Errorf("%d %s, want %d", n, tc.table, tc.rows)
			}
		})
	}
}

func countRows(t *testing.T, database, table string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+database+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// slotsJudged reads the metric of a detector.
var slotsJudged = regexp.MustCompile(`netlyra_detect_total\{kind="slots"\} ([0-9.e+]+)`)

// A detector reads the slots of a capture of 1 GB, or of an office, that wait in the broker.
func TestThroughputOfADetector(t *testing.T) {
	measured(t)
	dir := t.TempDir()
	imix, office := filepath.Join(dir, "imix.pcap"), filepath.Join(dir, "office.pcap")
	for _, args := range [][]string{
		{"bench", "synth", "--size", "1GB", "--seed", "42", "--output", imix},
		{"bench", "office", "--hours", "1", "--seed", "7", "--families", "attacks", "--output", office},
	} {
		if _, stderr, status := netlyra(t, args...); status != exitOK {
			t.Fatal(stderr)
		}
	}
	for _, capture := range []string{imix, office} {
		t.Run(filepath.Base(capture), func(t *testing.T) {
			stream, stderr, status := netlyra(t, "analyze", "--emit", "slots", "--detector", "off", "--sensor", "edge", "--quiet", capture)
			if status != exitOK {
				t.Fatal(stderr)
			}
			slots, packets := 0, uint64(0)
			for _, s := range sumsOfSlots(t, stream) {
				slots, packets = slots+1, packets+uint64(s.packets)
			}
			broker := kafkatest.Start(t)
			sensor := startRun(t, nil, filepath.Join(t.TempDir(), "edge.db"), "--read", capture, "--speed", "max", "--keep-time", "--sensor", "edge", "--brokers", broker.Addr, "--publish", "slots", "--detector", "external", "--topic-partitions", "1")
			until(t, "end of the capture", func() bool { return sensor.stats().Packets >= packets })
			time.Sleep(time.Second) // for what waits in it
			sensor.terminate()
			const metrics = "127.0.0.1:29187"
			start := time.Now()
			w := startDetect(t, "--brokers", broker.Addr, "--topic-partitions", "1", "--metrics-listen", metrics)
			until(t, "all slots", func() bool { return judgedSlots(metrics) >= slots-1 }) // the last slot of a file is cut in two by analyze
			took := time.Since(start)
			if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			err := <-w.done
			w.done <- err
			cpu := spent(w.cmd)
			t.Logf("%d slots, %d packets: %.2f s of processor time, start and end included: %.2f million packets, %.0f slots for each second of it; %.1f s in all; %d bytes of the topic a slot",
				slots, packets, cpu.Seconds(), float64(packets)/cpu.Seconds()/1e6, float64(slots)/cpu.Seconds(), took.Seconds(), broker.LogBytes(t, "netlyra.slots")/int64(slots))
		})
	}
}

// judgedSlots asks a detector; 0 where it does not answer yet.
func judgedSlots(address string) int {
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0
	}
	m := slotsJudged.FindSubmatch(text)
	if m == nil {
		return 0
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		return 0
	}
	return int(n)
}
