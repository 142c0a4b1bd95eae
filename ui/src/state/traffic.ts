// The traffic of the last minute by protocol, in bins of fixed length, made from the server's running counters.
import type { Series, Stats } from "../api/schema.ts";
import { parseTime } from "../format/time.ts";

/** The series of the chart, in the order in which they are stacked. */
export const series = ["TCP", "UDP", "ICMP", "other"] as const;

export const windowMs = 60_000;
export const binMs = 200;
/** Longer without numbers is a gap: nobody knows what happened. The server speaks once a second at least. */
export const gapMs = 2_000;

/** Bins are kept for the window and a little more, so that the oldest column on the screen is whole. */
const bins = windowMs / binMs + 10;

export type Measure = "bytes" | "packets";

/**
 * The rates of one bin, per second, by series; then what the server's history does not tell apart: ICMP and other bytes, packets of all
 * protocols.
 */
export type Rates = readonly [number, number, number, number, number];

const layers = series.length + 1;
const rest = series.length; // of layers, what is not told apart

const known = 0; // of a bin's fields, the ms that numbers cover; bytes and packets of each layer follow
const fields = 1 + 2 * layers;

/** A point of the server's history is whole this long after its second, ms: it is written once a second. */
const settledMs = 2_500;
/** The last second of a history that ended longer ago, ms, is not the present. */
const stillNow = 10_000;

function seriesOf(proto: string): number {
  switch (proto) {
    case "TCP":
      return 0;
    case "UDP":
      return 1;
    case "ICMP":
    case "ICMPv6":
      return 2;
    default:
      return 3;
  }
}

/** Counters as they stood at a time. */
interface Reading {
  readonly at: number;
  readonly packets: number;
  readonly sums: Float64Array; // bytes and packets of each layer
}

function read(stats: Stats, at: number): Reading {
  const sums = new Float64Array(2 * layers);
  for (const [proto, volume] of Object.entries(stats.by_proto ?? {})) {
    const i = 2 * seriesOf(proto);
    sums[i] = (sums[i] ?? 0) + volume.bytes;
    sums[i + 1] = (sums[i + 1] ?? 0) + volume.packets;
  }
  return { at, packets: stats.packets, sums };
}

export class Traffic {
  readonly #cells = new Float64Array(bins * fields);
  readonly #numbers = new Float64Array(bins).fill(Number.NaN); // which bin a cell holds at present
  #last: Reading | null = null;
  #dirty = Number.POSITIVE_INFINITY;

  /** The time of the earliest numbers, NaN before. */
  firstAt = Number.NaN;
  #settled = Number.NaN; // the end of a history that is all there is

  /** The server's history has something of the window. */
  hasHistory = false;

  /** The time of the latest numbers, NaN before the first. */
  get lastAt(): number {
    return this.#last?.at ?? Number.NaN;
  }

  /**
   * Takes the counters as they stood at a time in ms. What has come since the last ones is spread evenly over the time in
   * between, which is all that can be known. After a gap, or when the counters have started again, nothing is.
   */
  add(stats: Stats, at: number): void {
    const now = read(stats, at);
    const last = this.#last;
    this.#last = now;
    if (Number.isNaN(this.firstAt)) {
      this.firstAt = at;
      this.#dirty = Number.NEGATIVE_INFINITY; // all before is unknown from now on
    }
    if (last === null || at <= last.at) return;
    if (at - last.at > gapMs || now.packets < last.packets) {
      // A gap, or another run of the server.
      this.#dirty = Math.min(this.#dirty, last.at);
      return;
    }
    this.#spread(last, now);
    this.#dirty = Math.min(this.#dirty, last.at);
  }

  /**
   * Takes the server's history, in steps of a second, where this page has no numbers of its own. now is the server's clock in ms. A step that
   * is null stays unknown.
   */
  fill(s: Series, now: number): void {
    const from = parseTime(s.from);
    const end = Math.min(now - settledMs, from + s.packets.length * 1000);
    const oldest = Math.max(from, now - bins * binMs + binMs);
    for (let second = from; second + 1000 <= end; second += 1000) {
      const sums = sumsOf(s, (second - from) / 1000);
      if (sums === null) continue;
      this.hasHistory = true;
      if (second + 1000 <= oldest) continue;
      if (!(second >= this.firstAt)) this.firstAt = second;
      for (let at = second; at < second + 1000; at += binMs) {
        if (at >= oldest) this.#fillBin(Math.floor(at / binMs), sums);
      }
    }
    this.#dirty = Number.NEGATIVE_INFINITY;
  }

  /** Takes the server's history in place of all that was known: where no counters come, as of many sensors. Null: nothing is known any more. */
  replace(s: Series | null, now: number): void {
    this.#numbers.fill(Number.NaN);
    this.#last = null;
    this.firstAt = this.#settled = Number.NaN;
    this.hasHistory = false;
    this.#dirty = Number.NEGATIVE_INFINITY;
    if (s === null) return;
    this.fill(s, now);
    const known = s.packets.findLastIndex((n, i) => n !== null && parseTime(s.from) + (i + 1) * 1000 <= now - settledMs);
    const end = parseTime(s.from) + (known + 1) * 1000;
    if (known >= 0 && now - end < stillNow) this.#settled = end;
  }

  #fillBin(bin: number, perSecond: Float64Array): void {
    const cell = this.#cellFor(bin);
    if ((this.#cells[cell + known] ?? 0) > 0.99 * binMs) return;
    this.#cells[cell + known] = binMs;
    perSecond.forEach((n, i) => (this.#cells[cell + 1 + i] = (n * binMs) / 1000));
  }

  /** The earliest time whose picture has changed since this was last asked; Infinity: nothing has. */
  takeDirty(): number {
    const dirty = this.#dirty;
    this.#dirty = Number.POSITIVE_INFINITY;
    return dirty;
  }

  #spread(last: Reading, now: Reading): void {
    const span = now.at - last.at;
    for (let bin = Math.floor(last.at / binMs); bin * binMs < now.at; bin++) {
      const from = Math.max(last.at, bin * binMs);
      const to = Math.min(now.at, (bin + 1) * binMs);
      const cell = this.#cellFor(bin);
      this.#cells[cell + known] = (this.#cells[cell + known] ?? 0) + (to - from);
      for (let i = 0; i < now.sums.length; i++) {
        const more = Math.max(0, (now.sums[i] ?? 0) - (last.sums[i] ?? 0));
        this.#cells[cell + 1 + i] = (this.#cells[cell + 1 + i] ?? 0) + (more * (to - from)) / span;
      }
    }
  }

  #cellFor(bin: number): number {
    const slot = ((bin % bins) + bins) % bins;
    if (this.#numbers[slot] !== bin) {
      this.#numbers[slot] = bin;
      this.#cells.fill(0, slot * fields, (slot + 1) * fields);
    }
    return slot * fields;
  }

  /** The traffic as it is now, which later readings leave alone. */
  copy(): Traffic {
    const c = new Traffic();
    c.#cells.set(this.#cells);
    c.#numbers.set(this.#numbers);
    c.#last = this.#last;
    c.#settled = this.#settled;
    c.firstAt = this.firstAt;
    c.hasHistory = this.hasHistory;
    return c;
  }

  /** The rates of the last second: what the page calls the present, in each of its places. */
  latest(now: number, measure: Measure): Rates | null {
    const end = Number.isNaN(this.#settled) ? Math.floor(now / binMs) * binMs : this.#settled;
    return this.mean(end - 1000, end, measure);
  }

  /** The rates in the bin that holds a time. The bin in progress counts as half over at least, so that it does not flicker. */
  ratesAt(at: number, measure: Measure): Rates | null {
    const bin = Math.floor(at / binMs);
    const slot = ((bin % bins) + bins) % bins;
    const cell = slot * fields;
    const covered = this.#cells[cell + known] ?? 0;
    if (this.#numbers[slot] !== bin || covered === 0) return null;
    const seconds = Math.max(covered, binMs / 2) / 1000;
    const first = cell + 1 + (measure === "packets" ? 1 : 0);
    const rate = (i: number): number => (this.#cells[first + 2 * i] ?? 0) / seconds;
    return [rate(0), rate(1), rate(2), rate(3), rate(rest)];
  }

  /** The mean rates of the known bins from one time to another; null if none is known. */
  mean(from: number, to: number, measure: Measure): Rates | null {
    const sums: [number, number, number, number, number] = [0, 0, 0, 0, 0];
    let n = 0;
    for (let at = from; at < to; at += binMs) {
      const rates = this.ratesAt(at, measure);
      if (rates === null) continue;
      n++;
      for (const i of [0, 1, 2, 3, 4] as const) sums[i] += rates[i];
    }
    return n === 0 ? null : [sums[0] / n, sums[1] / n, sums[2] / n, sums[3] / n, sums[4] / n];
  }

  /** The greatest total in the window that ends at a time, and when it was. */
  peak(end: number, measure: Measure): { rate: number; at: number } {
    let best = { rate: 0, at: end };
    for (let at = end - windowMs; at <= end; at += binMs) {
      const rates = this.ratesAt(at, measure);
      if (rates !== null && total(rates) > best.rate) best = { rate: total(rates), at };
    }
    return best;
  }
}

export function total(r: Rates): number {
  return r[0] + r[1] + r[2] + r[3] + r[4];
}

/** One series of the rates; null where only a sum is known that it is part of. */
export function part(r: Rates, i: number, measure: Measure): number | null {
  return r[rest] > 0 && (measure === "packets" || i >= 2) ? null : (r[i] ?? null);
}

/** What is not told apart, per second, with its name; null where all is. */
export function notTold(r: Rates, measure: Measure): { readonly name: string; readonly rate: number } | null {
  return r[rest] > 0 ? { name: measure === "packets" ? "all protocols" : "ICMP, other", rate: r[rest] } : null;
}

/** Bytes and packets of each layer in the i-th step of the history; null for a gap. */
function sumsOf(s: Series, i: number): Float64Array | null {
  const [packets, tcp, udp, other] = [s.packets[i], s.tcp_bytes[i], s.udp_bytes[i], s.other_bytes[i]];
  if (packets == null || tcp == null || udp == null || other == null) return null;
  const sums = new Float64Array(2 * layers);
  sums[0] = tcp;
  sums[2] = udp;
  sums[2 * rest] = other;
  sums[2 * rest + 1] = packets;
  return sums;
}
