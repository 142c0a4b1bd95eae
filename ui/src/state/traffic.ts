// The traffic of the last minute by protocol, in bins of fixed length, made from the server's running counters.
import type { Stats } from "../api/schema.ts";

/** The series of the chart, in the order in which they are stacked. */
export const series = ["TCP", "UDP", "ICMP", "other"] as const;
export type Series = (typeof series)[number];

export const windowMs = 60_000;
export const binMs = 200;
/** Longer without numbers is a gap: nobody knows what happened. The server speaks once a second at least. */
export const gapMs = 2_000;

/** Bins are kept for the window and a little more, so that the oldest column on the screen is whole. */
const bins = windowMs / binMs + 10;

export type Measure = "bytes" | "packets";

/** The rates of one bin, per second, by series. Null where nothing is known. */
export type Rates = readonly [number, number, number, number];

const known = 0; // of a bin's fields, the ms that numbers cover; bytes and packets of each series follow
const fields = 1 + 2 * series.length;

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
  readonly sums: Float64Array; // bytes and packets of each series
}

function read(stats: Stats, at: number): Reading {
  const sums = new Float64Array(2 * series.length);
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

  /** The time of the first numbers, NaN before. */
  firstAt = Number.NaN;

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
    if (Number.isNaN(this.firstAt)) this.firstAt = at;
    if (last === null || at <= last.at) return;
    if (at - last.at > gapMs || now.packets < last.packets) {
      // A gap, or another run of the server.
      this.#dirty = Math.min(this.#dirty, last.at);
      return;
    }
    this.#spread(last, now);
    this.#dirty = Math.min(this.#dirty, last.at);
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
    c.firstAt = this.firstAt;
    return c;
  }

  /** The rates of the last second: what the page calls the present, in each of its places. */
  latest(now: number, measure: Measure): Rates | null {
    const end = Math.floor(now / binMs) * binMs;
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
    return [rate(0), rate(1), rate(2), rate(3)];
  }

  /** The mean rates of the known bins from one time to another; null if none is known. */
  mean(from: number, to: number, measure: Measure): Rates | null {
    const sums: [number, number, number, number] = [0, 0, 0, 0];
    let n = 0;
    for (let at = from; at < to; at += binMs) {
      const rates = this.ratesAt(at, measure);
      if (rates === null) continue;
      n++;
      for (const i of [0, 1, 2, 3] as const) sums[i] += rates[i];
    }
    return n === 0 ? null : [sums[0] / n, sums[1] / n, sums[2] / n, sums[3] / n];
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
  return r[0] + r[1] + r[2] + r[3];
}
