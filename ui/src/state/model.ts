// What the page knows of the server, and how each message changes it. No signals, no clock, no I/O here.
import type { Alert, ClientHelloMessage, Columns, ServerMessage, Stats } from "../api/schema.ts";
import { toNumber } from "../api/messages.ts";
import { AlertList } from "./alerts.ts";
import { isLoss } from "./status.ts";
import { Connections } from "./connections.ts";
import { isFleet } from "./fleet.ts";
import { Traffic } from "./traffic.ts";

/** What has to be done after a message. */
export interface Effects {
  /** Alerts are missing: ask the REST API. "anew": and forget those that are not in its list any more. */
  readonly fetchAlerts?: true | "anew";
  /** To be acknowledged after drawing. */
  readonly ack?: number;
  /** An alert that was not known before. */
  readonly fresh?: Alert;
}

/** Where a stage's losses stood at a time. */
interface LossReading {
  readonly at: number;
  readonly total: number;
}

const lossWindowMs = 60_000;

export class Model {
  version = "";
  /** Alerts of this sensor are taken; "": all are. */
  sensor = "";
  stats: Stats | null = null;
  /** The server's clock at the last numbers in ms; NaN before. */
  statsAt = Number.NaN;
  readonly alerts = new AlertList();
  readonly connections = new Connections();
  readonly traffic = new Traffic();
  #epoch = "";
  #seq = 0;
  #gen = 0;
  #losses: LossReading[] = [];

  /** Where the page left off, for the server to go on from. */
  since(): ClientHelloMessage["since"] {
    if (this.#epoch === "" || this.#gen === 0) return undefined;
    return { epoch: this.#epoch, seq: this.#seq, gen: this.#gen };
  }

  apply(m: ServerMessage): Effects {
    switch (m.type) {
      case "hello":
        this.version = m.data.version;
        return this.#greeted(m.epoch);
      case "snapshot":
        this.#seen(m.seq);
        this.#snapshot(m.data.stats, m.data.connection, m.ts_us / 1000);
        return { fetchAlerts: true, ack: m.seq };
      case "stats":
        this.#seen(m.seq);
        this.#setStats(m.data, m.ts_us / 1000);
        return { ack: m.seq };
      case "connection":
        this.#seen(m.seq);
        this.#setRows(m.data);
        return { ack: m.seq };
      case "alert":
        this.#seen(m.seq);
        return this.#alert(m.data);
      case "resync":
        switch (m.data.reason) {
          case "missed":
            return { fetchAlerts: true };
          case "triage":
            return { fetchAlerts: "anew" };
          default:
            return {}; // a snapshot follows
        }
      case "bye":
        return {};
      default:
        return unreachable(m);
    }
  }

  /** Packets lost in the last minute, as far as this page has seen. */
  recentLosses(): number {
    const first = this.#losses[0];
    const last = this.#losses.at(-1);
    return first === undefined || last === undefined ? 0 : Math.max(0, last.total - first.total);
  }

  /** hello, resync and bye carry the number of a message that this page may not have had: they do not count. */
  #seen(seq: number): void {
    this.#seq = Math.max(this.#seq, seq);
  }

  /** A server that has started again counts from 0, and its database may be another. */
  #greeted(epoch: string): Effects {
    if (epoch === this.#epoch) return {};
    const first = this.#epoch === "";
    this.#epoch = epoch;
    this.#seq = 0;
    this.#gen = 0;
    this.#losses = [];
    if (!first) this.alerts.clear();
    return {};
  }

  #snapshot(stats: Stats | undefined, rows: Columns | undefined, at: number): void {
    if (rows !== undefined) this.#setRows(rows);
    if (stats !== undefined) this.#setStats(stats, at);
  }

  #setStats(stats: Stats, at: number): void {
    this.stats = stats;
    this.statsAt = at;
    if (!isFleet(stats)) this.traffic.add(stats, at);
    const total = stats.drops.reduce((n, d) => n + (isLoss(d) ? d.count : 0), 0);
    this.#losses.push({ at, total });
    this.#losses = thin(this.#losses, at);
  }

  #setRows(c: Columns): void {
    this.connections.merge(c);
    this.#gen = toNumber(c.gen);
  }

  #alert(a: Alert): Effects {
    if (this.sensor !== "" && a.sensor !== this.sensor) return {};
    return this.alerts.put(a) ? { fresh: a } : {};
  }
}

/** Readings of the last minute, about one a second: the oldest, and the latest. */
function thin(readings: LossReading[], now: number): LossReading[] {
  const kept = readings.filter((r) => now - r.at <= lossWindowMs);
  const before = kept.at(-3);
  const middle = kept.at(-2);
  if (before !== undefined && middle !== undefined && middle.at - before.at < 1000) kept.splice(-2, 1);
  return kept;
}

function unreachable(m: never): Effects {
  throw new Error(`no case for the message ${JSON.stringify(m)}`);
}
