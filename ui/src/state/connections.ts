// The connections that the server sends, merged from its columns.
import { toNumber } from "../api/messages.ts";
import type { Columns, ConnectionState } from "../api/schema.ts";

export interface Connection {
  readonly id: string;
  sensor: string;
  srcIP: string;
  dstIP: string;
  srcPort: number;
  dstPort: number;
  proto: string;
  state: ConnectionState;
  sni: string;
  /** Capture time in ms. */
  first: number;
  last: number;
  packets: number;
  bytesUp: number;
  bytesDown: number;
  score: number;
  /** It is one packet, which nobody has answered. */
  single: boolean;
  /** Bytes per second, both ways, over the last second of capture time: the server's figure. */
  rate: number;
  /** The id of the incident that it belongs to; empty: none. */
  alert: string;
  /** It has left the server's table. */
  gone: boolean;
}

export const sortKeys = ["rate", "bytes", "packets", "state", "name", "last"] as const;
export type SortKey = (typeof sortKeys)[number];

export class Connections {
  readonly #byID = new Map<string, Connection>();
  /** The server has left rows out since the last full list: the list is a part. */
  partial = false;

  get size(): number {
    return this.#byID.size;
  }

  /** Merges a message's columns. Each row replaces what was known of its connection; a full list replaces all. */
  merge(c: Columns): void {
    if (c.full) this.#removeAllBut(new Set(c.id));
    this.partial = toNumber(c.omitted) > 0 || (this.partial && !c.full);
    for (let i = 0; i < c.id.length; i++) this.#put(c, i);
    for (const id of c.gone) this.#remove(id);
  }

  #put(c: Columns, i: number): void {
    const id = c.id[i] ?? "";
    let row = this.#byID.get(id);
    if (row === undefined) {
      row = { ...blank, id };
      this.#byID.set(id, row);
    }
    row.sensor = c.sensor[i] ?? "";
    row.srcIP = c.src_ip[i] ?? "";
    row.dstIP = c.dst_ip[i] ?? "";
    row.srcPort = c.src_port[i] ?? 0;
    row.dstPort = c.dst_port[i] ?? 0;
    row.proto = c.proto[i] ?? "";
    row.state = c.state[i] ?? "active";
    row.sni = c.sni[i] ?? "";
    row.first = (c.first_ts_us[i] ?? 0) / 1000;
    row.last = (c.last_ts_us[i] ?? 0) / 1000;
    const [up, down] = [toNumber(c.packets_up[i] ?? 0), toNumber(c.packets_down[i] ?? 0)];
    row.packets = up + down;
    row.single = up <= 1 && down === 0;
    row.bytesUp = toNumber(c.bytes_up[i] ?? 0);
    row.bytesDown = toNumber(c.bytes_down[i] ?? 0);
    row.score = c.score[i] ?? 0;
    row.rate = (c.rate_up[i] ?? 0) + (c.rate_down[i] ?? 0);
    row.alert = c.alert[i] ?? "";
  }

  #remove(id: string): void {
    const row = this.#byID.get(id);
    if (row === undefined) return;
    row.gone = true; // who still shows it can tell
    row.rate = 0;
    this.#byID.delete(id);
  }

  #removeAllBut(ids: ReadonlySet<string>): void {
    for (const id of this.#byID.keys()) {
      if (!ids.has(id)) this.#remove(id);
    }
  }

  /** The connections of a sensor, or all (""), in an order; equals by the latest first. */
  sorted(key: SortKey, descending: boolean, sensor = ""): Connection[] {
    const sign = descending ? -1 : 1;
    const compare = comparators[key];
    const all = [...this.#byID.values()];
    return (sensor === "" ? all : all.filter((c) => c.sensor === sensor)).sort(
      (a, b) => sign * compare(a, b) || b.last - a.last || (a.id < b.id ? 1 : -1),
    );
  }
}

const blank: Connection = {
  id: "", sensor: "", srcIP: "", dstIP: "", srcPort: 0, dstPort: 0, proto: "", state: "active", sni: "", first: 0, last: 0, packets: 0,
  bytesUp: 0, bytesDown: 0, score: 0, single: false, rate: 0, alert: "", gone: false,
};

type Comparator = (a: Connection, b: Connection) => number;

const comparators: Readonly<Record<SortKey, Comparator>> = {
  // One packet makes no rate: a flood of them, each from another address, does not stand above those who talk.
  rate: (a, b) => Number(b.single) - Number(a.single) || a.rate - b.rate,
  bytes: (a, b) => a.bytesUp + a.bytesDown - (b.bytesUp + b.bytesDown),
  packets: (a, b) => a.packets - b.packets,
  state: (a, b) => compareText(a.state, b.state),
  name: (a, b) => compareText(a.sni, b.sni),
  last: (a, b) => a.last - b.last,
};

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * The order to show while a person reads: rows stay where they are, those that have ended too, and new ones follow at the end.
 */
export function hold(shown: readonly Connection[], all: readonly Connection[]): readonly Connection[] {
  const known = new Set(shown);
  return [...shown, ...all.filter((c) => !known.has(c))];
}
