// Values for tests, small and complete.
import type { Alert, Columns, Series, Stats } from "../api/schema.ts";

export function stats(over: Partial<Stats> = {}): Stats {
  return {
    sensor: "s", source: "eth0", last_packet_ts: null, clock_ts: null, time_outliers: 0, uptime_seconds: 60, packets: 0, bytes: 0, packet_rate: 0, byte_rate: 0,
    decoded: 0, non_ip: 0, fragments: { first: 0, later: 0 }, late_packets: 0, clock_jumps: 0, by_proto: {},
    connections: { active: 0, opened: 0, expired: 0, evicted: 0, unstored: 0 }, drops: [], malformed: {},
    alerts: { raised: 0, stored: 0, suppressed: 0, dropped: 0 },
    detector: { name: "d", learning: 0, parts: {}, budget_per_day: 5, actual_per_day: 0, learned_alerts: 0, limit_alerts: 0, releases: 0, open_incidents: 0, entities: {}, caps_hit: {} },
    interfaces: [{ name: "eth0", link: "up", received: 0, dropped: 0 }], latency_ms: [], memory_bytes: 0,
    ...over,
  };
}

export function alert(over: Partial<Alert> = {}): Alert {
  return {
    ts: "2026-11-24T05:41:33.000001Z", src_ip: "192.0.2.66", dst_ip: "198.51.100.7", src_port: 0, dst_port: 0, proto: "TCP",
    score: 0.97, features: { entropy: 0, packet_rate: 1, byte_rate: 1 }, id: "a", rev: 1, last_ts: "2026-11-24T05:41:35.000001Z",
    count: 1, state: "open", sensor: "s", category: "port_scan", severity: "high", summary: "192.0.2.66 scans.", facts: null,
    reasons: null, counterfactual: "", role: "", peers: { total: 0, top: null }, ports: { total: 0, top: null },
    detector: { name: "d", version: "1", learning: 0.4 }, capture_confidence: 1,
    ...over,
  };
}

export interface RowValues {
  readonly id: string;
  readonly sensor?: string;
  readonly bytes?: number | string;
  readonly packetsUp?: number;
  readonly packetsDown?: number;
  readonly last?: number;
  readonly rateUp?: number;
  readonly rateDown?: number;
  readonly alert?: string;
}

/** The columns of rows that differ in what matters to a test. */
export function columns(rows: readonly RowValues[], over: Partial<Columns> = {}): Columns {
  const all = <T>(v: T): T[] => rows.map(() => v);
  return {
    gen: 1, full: false, omitted: 0, id: rows.map((r) => r.id), sensor: rows.map((r) => r.sensor ?? "s"), src_ip: all("192.0.2.1"), dst_ip: all("192.0.2.2"),
    src_port: all(1000), dst_port: all(443), proto: all("TCP"), state: all("established" as const), sni: all(""),
    first_ts_us: all(0), last_ts_us: rows.map((r) => (r.last ?? 0) * 1000), packets_up: rows.map((r) => r.packetsUp ?? 1), packets_down: rows.map((r) => r.packetsDown ?? 1),
    bytes_up: rows.map((r) => r.bytes ?? 0), bytes_down: all(0), alert: rows.map((r) => r.alert ?? ""), rate_up: rows.map((r) => r.rateUp ?? 0),
    rate_down: rows.map((r) => r.rateDown ?? 0), score: all(0), gone: [],
    ...over,
  };
}

/** A history of seconds from a time in ms: of so many bytes of TCP each, a tenth of that of UDP, a hundredth of others; null is a gap. */
export function history(from: number, tcp: readonly (number | null)[]): Series {
  const of = (share: number): (number | null)[] => tcp.map((n) => (n === null ? null : n * share));
  return {
    step: 1, from: new Date(from).toISOString(), to: new Date(from + tcp.length * 1000).toISOString(), packets: of(0.001), bytes: of(1.11),
    tcp_bytes: of(1), udp_bytes: of(0.1), other_bytes: of(0.01), connections: of(0), drops: of(0),
  };
}
