package api

import (
	"errors"
	"math"
	"runtime"
	"strconv"
	"time"

	"netlyra/internal/models"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are this package's own.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	clients  prometheus.Gauge
	messages *prometheus.CounterVec
	bytes    prometheus.Counter
	merged   prometheus.Counter
	dropped  *prometheus.CounterVec
	closed   *prometheus.CounterVec
	build    prometheus.Gauge
}

func newMetrics(version string) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "netlyra_api_requests_total", Help: "HTTP requests answered, by route and status.",
		}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "netlyra_api_request_duration_seconds", Help: "Time to answer HTTP requests, by route.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route"}),
		clients: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "netlyra_api_ws_clients", Help: "WebSocket clients that are connected.",
		}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "netlyra_api_ws_messages_total", Help: "WebSocket messages handed to clients, by type.",
		}, []string{"type"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "netlyra_api_ws_sent_bytes_total", Help: "Bytes of WebSocket messages written to clients.",
		}),
		merged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "netlyra_api_ws_merged_updates_total", Help: "Updates that a client got as part of a later one, because it lacked credit.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "netlyra_api_ws_dropped_messages_total", Help: "Messages not delivered, by reason; REST still has the alerts.",
		}, []string{"reason"}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "netlyra_api_ws_closed_clients_total", Help: "WebSocket clients that have left or were cut off, by reason.",
		}, []string{"reason"}),
		build: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "netlyra_build_info", Help: "1; the labels say which program this is.",
			ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
		}),
	}
	m.build.Set(1)
	return m
}

func (m *metrics) register(r prometheus.Registerer, stats func() models.Stats, others ...prometheus.Collector) error {
	var errs []error
	for _, c := range append(others,
		m.requests, m.seconds, m.clients, m.messages, m.bytes, m.merged, m.dropped, m.closed, m.build, newStatsCollector(stats),
	) {
		errs = append(errs, r.Register(c))
	}
	return errors.Join(errs...)
}

func (m *metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

// statsCollector exports models.Stats under the names of the packages that count. Labels are protocols, stages, reasons
// and the like: closed lists, never addresses. (Interface names are as many as the machine has.)
type statsCollector struct {
	stats func() models.Stats
	plain []statMetric
	vecs  []statVec
	stage *prometheus.Desc // histogram
}

// statMetric is one number of Stats.
type statMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	get  func(*models.Stats) float64
}

// statVec is a map or list of Stats; walk calls emit once for each member.
type statVec struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	walk func(st *models.Stats, emit func(v float64, labels ...string))
}

func newStatsCollector(stats func() models.Stats) *statsCollector {
	return &statsCollector{stats: stats, plain: plainStats(), vecs: vectorStats(), stage: prometheus.NewDesc(
		"netlyra_pipeline_latency_seconds", "Time from a packet's stamp to a stage: one packet of each batch, the first revision of each alert.",
		[]string{"stage"}, nil)}
}

func counter(name, help string, get func(*models.Stats) uint64) statMetric {
	return statMetric{
		prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue,
		func(s *models.Stats) float64 { return float64(get(s)) },
	}
}

func gauge(name, help string, get func(*models.Stats) float64) statMetric {
	return statMetric{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, get}
}

func plainStats() []statMetric {
	type S = *models.Stats
	return []statMetric{
		counter("netlyra_capture_received_packets_total", "Packets received from the source.", func(s S) uint64 { return s.Packets }),
		counter("netlyra_capture_received_bytes_total", "Bytes on the wire of the packets received.", func(s S) uint64 { return s.Bytes }),
		gauge("netlyra_capture_last_packet_timestamp_seconds", "Capture time of the latest packet; 0 before the first.",
			func(s S) float64 { return float64(s.LastPacketTS) / 1e6 }),
		counter("netlyra_decode_decoded_packets_total", "Packets decoded to PacketMeta.", func(s S) uint64 { return s.Decoded }),
		counter("netlyra_decode_non_ip_packets_total", "Packets that are neither IP nor ARP.", func(s S) uint64 { return s.NonIP }),
		counter("netlyra_decode_first_fragment_packets_total", "First fragments of datagrams.", func(s S) uint64 { return s.Fragments.First }),
		counter("netlyra_decode_later_fragment_packets_total", "Later fragments of datagrams.", func(s S) uint64 { return s.Fragments.Later }),
		counter("netlyra_pipeline_late_packets_total", "Packets stamped before the open slot and counted into it.", func(s S) uint64 { return s.LatePackets }),
		counter("netlyra_pipeline_clock_jumps_total", "Times that capture time was set back by more than 10 s.", func(s S) uint64 { return s.ClockJumps }),
		gauge("netlyra_pipeline_memory_bytes", "Memory that the process holds (resident set), with the caches of the database and the kernel's rings.", func(s S) float64 { return float64(s.MemoryBytes) }),
		gauge("netlyra_pipeline_uptime_seconds", "Time since the pipeline's start.", func(s S) float64 { return s.UptimeSeconds }),
		gauge("netlyra_flow_active_connections", "Connections in the table.", func(s S) float64 { return float64(s.Connections.Active) }),
		counter("netlyra_flow_opened_connections_total", "Connections entered into the table.", func(s S) uint64 { return s.Connections.Opened }),
		counter("netlyra_flow_expired_connections_total", "Connections that ended or fell silent.", func(s S) uint64 { return s.Connections.Expired }),
		counter("netlyra_flow_evicted_connections_total", "Connections evicted because the table was full.", func(s S) uint64 { return s.Connections.Evicted }),
		counter("netlyra_store_unstored_connections_total", "Connections counted but not stored.", func(s S) uint64 { return s.Connections.Unstored }),
		counter("netlyra_detect_raised_alerts_total", "Revisions of alerts raised.", func(s S) uint64 { return s.Alerts.Raised }),
		counter("netlyra_store_stored_alerts_total", "Revisions of alerts stored and shown.", func(s S) uint64 { return s.Alerts.Stored }),
		counter("netlyra_store_suppressed_alerts_total", "Revisions of alerts stored, but hidden by an exception or by hand.", func(s S) uint64 { return s.Alerts.Suppressed }),
		counter("netlyra_store_dropped_alerts_total", "Revisions of alerts lost.", func(s S) uint64 { return s.Alerts.Dropped }),
		gauge("netlyra_detect_learning_ratio", "How far the detector has learned, 0 to 1.", func(s S) float64 { return s.Detector.Learning }),
		gauge("netlyra_detect_budget_alerts_per_day", "The alert budget.", func(s S) float64 { return s.Detector.BudgetPerDay }),
		gauge("netlyra_detect_actual_alerts_per_day", "Alerts that count against the budget.", func(s S) float64 { return s.Detector.ActualPerDay }),
		counter("netlyra_detect_learned_alerts_total", "Alerts that are due to what has been learned; the budget is for these.", func(s S) uint64 { return s.Detector.LearnedAlerts }),
		counter("netlyra_detect_limit_alerts_total", "Alerts raised by absolute limits.", func(s S) uint64 { return s.Detector.LimitAlerts }),
		counter("netlyra_detect_releases_total", "Times that what was kept from being learned became the new normal.", func(s S) uint64 { return s.Detector.Releases }),
		gauge("netlyra_detect_open_incidents", "Incidents that still go on.", func(s S) float64 { return float64(s.Detector.OpenIncidents) }),
	}
}

func vector(kind prometheus.ValueType, name, help string, labels []string,
	walk func(st *models.Stats, emit func(v float64, labels ...string)),
) statVec {
	return statVec{prometheus.NewDesc(name, help, labels, nil), kind, walk}
}

func vectorStats() []statVec {
	type emitter = func(v float64, labels ...string)
	const count, level = prometheus.CounterValue, prometheus.GaugeValue
	counts := func(name, help, label string, of func(*models.Stats) map[string]uint64, kind prometheus.ValueType) statVec {
		return vector(kind, name, help, []string{label}, func(st *models.Stats, emit emitter) {
			for k, v := range of(st) {
				emit(float64(v), k)
			}
		})
	}
	return []statVec{
		vector(count, "netlyra_decode_proto_packets_total", "Packets, by protocol.", []string{"proto"}, protoVolumes(packetsOf)),
		vector(count, "netlyra_decode_proto_bytes_total", "Bytes on the wire, by protocol.", []string{"proto"}, protoVolumes(bytesOf)),
		counts("netlyra_decode_malformed_packets_total", "Packets that could not be decoded, by reason.", "reason",
			func(s *models.Stats) map[string]uint64 { return s.Malformed }, count),
		counts("netlyra_detect_entities", "Entities under watch, by kind.", "kind",
			func(s *models.Stats) map[string]uint64 { return s.Detector.Entities }, level),
		counts("netlyra_detect_caps_hits_total", "Times that a bound of the detector was hit, by bound.", "cap",
			func(s *models.Stats) map[string]uint64 { return s.Detector.CapsHit }, count),
		vector(count, "netlyra_pipeline_dropped_items_total", "What was lost, by stage and reason.", []string{"stage", "reason"},
			func(st *models.Stats, emit emitter) {
				for _, d := range mergeDrops(st.Drops) {
					emit(float64(d.Count), d.Stage, d.Reason)
				}
			}),
		vector(level, "netlyra_detect_part_learning_ratio", "How far each part has learned, 0 to 1.", []string{"part"},
			func(st *models.Stats, emit emitter) {
				for k, v := range st.Detector.Parts {
					emit(v, k)
				}
			}),
		vector(level, "netlyra_capture_interface_up", "1 while the interface can bring packets.", []string{"interface"},
			func(st *models.Stats, emit emitter) {
				for name, up := range interfacesUp(st.Interfaces) {
					emit(up, name)
				}
			}),
		vector(count, "netlyra_capture_interface_packets_total", "Packets that the kernel has heard on an interface, or that were read of a file.", []string{"interface"},
			func(st *models.Stats, emit emitter) {
				for name, of := range interfaceCounts(st.Interfaces) {
					emit(float64(of.Received), name)
				}
			}),
		vector(count, "netlyra_capture_interface_dropped_packets_total", "Packets of an interface that found the ring full.", []string{"interface"},
			func(st *models.Stats, emit emitter) {
				for name, of := range interfaceCounts(st.Interfaces) {
					emit(float64(of.Dropped), name)
				}
			}),
		latency("netlyra_pipeline_latency_p50_seconds", "Median time from a packet's stamp to a stage over the last minute.",
			func(l models.StageLatency) float64 { return l.P50 }),
		latency("netlyra_pipeline_latency_p99_seconds", "99th percentile of the time from a packet's stamp to a stage over the last minute.",
			func(l models.StageLatency) float64 { return l.P99 }),
	}
}

func latency(name, help string, millis func(models.StageLatency) float64) statVec {
	return vector(prometheus.GaugeValue, name, help, []string{"stage"}, func(st *models.Stats, emit func(float64, ...string)) {
		for _, l := range lastStages(st.LatencyMS) {
			emit(millis(l)/1e3, l.Stage)
		}
	})
}

func packetsOf(v models.Volume) uint64 { return v.Packets }
func bytesOf(v models.Volume) uint64   { return v.Bytes }

// protoVolumes walks ByProto; protocols without a name are taken together, so that a scan over all 256 makes no 256 series.
func protoVolumes(of func(models.Volume) uint64) func(*models.Stats, func(float64, ...string)) {
	return func(st *models.Stats, emit func(float64, ...string)) {
		var other uint64
		for name, v := range st.ByProto {
			if _, err := strconv.Atoi(name); err == nil {
				other += of(v)
				continue
			}
			emit(float64(of(v)), name)
		}
		emit(float64(other), "other")
	}
}

// mergeDrops adds up entries of the same stage and reason, of which Prometheus allows one only.
func mergeDrops(in []models.Drop) []models.Drop {
	type key struct{ stage, reason string }
	at := map[key]int{}
	var out []models.Drop
	for _, d := range in {
		k := key{d.Stage, d.Reason}
		if i, ok := at[k]; ok {
			out[i].Count += d.Count
			continue
		}
		at[k] = len(out)
		out = append(out, d)
	}
	return out
}

func interfacesUp(in []models.Interface) map[string]float64 {
	up := map[string]float64{}
	for _, i := range in {
		up[i.Name] = 0
		if i.Link == "up" || i.Link == "file" {
			up[i.Name] = 1
		}
	}
	return up
}

// interfaceCounts are the interfaces by name: a name may come twice, a series may not.
func interfaceCounts(in []models.Interface) map[string]models.Interface {
	by := map[string]models.Interface{}
	for _, i := range in {
		sum := by[i.Name]
		sum.Received += i.Received
		sum.Dropped += i.Dropped
		by[i.Name] = sum
	}
	return by
}

func lastStages(in []models.StageLatency) map[string]models.StageLatency {
	last := map[string]models.StageLatency{}
	for _, l := range in {
		last[l.Stage] = l
	}
	return last
}

// Describe implements prometheus.Collector.
func (c *statsCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.plain {
		ch <- m.desc
	}
	for _, v := range c.vecs {
		ch <- v.desc
	}
	ch <- c.stage
}

// Collect implements prometheus.Collector.
func (c *statsCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.stats()
	for _, m := range c.plain {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, finite(m.get(&st)))
	}
	for name, l := range lastStages(st.LatencyMS) {
		below, n := make(map[float64]uint64, models.LatencyBounds), uint64(0)
		for i, here := range l.Total.Within {
			n += here
			below[models.LatencyBound(i)] = n
		}
		ch <- prometheus.MustNewConstHistogram(c.stage, l.Total.Count, l.Total.Sum, below, name)
	}
	for _, v := range c.vecs {
		v.walk(&st, func(value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(v.desc, v.kind, finite(value), labels...)
		})
	}
}

// finite keeps a value that is none from poisoning a graph.
func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}
