// Numbers for people: SI prefixes, three significant digits, a no-break space before the unit. Units are spelled as in the
// API: bit/s, packets/s, bytes.

const prefixes = ["", "k", "M", "G", "T", "P", "E"] as const;
const space = "\u00a0";
const none = "–";

/** A number and its unit apart, for places that set them in different sizes. */
export interface Quantity {
  readonly value: string;
  readonly unit: string;
}

/** n in SI prefixes: three significant digits, and no decimals for small whole numbers. */
export function si(n: number, unit: string): Quantity {
  if (!Number.isFinite(n)) return { value: none, unit };
  let rest = Math.abs(n);
  let step = 0;
  // 999.5 would be written as 1000 already.
  while (rest >= 999.5 && step < prefixes.length - 1) {
    rest /= 1000;
    step++;
  }
  const digits = step === 0 && Number.isInteger(rest) ? 0 : rest >= 99.95 ? 0 : rest >= 9.995 ? 1 : 2;
  return { value: (n < 0 ? "−" : "") + rest.toFixed(digits), unit: (prefixes[step] ?? "") + unit };
}

/** Without the zeros at the end, for the round numbers of an axis. */
export function short(q: Quantity): Quantity {
  return { value: q.value.includes(".") ? q.value.replace(/\.?0+$/, "") : q.value, unit: q.unit };
}

export function text(q: Quantity): string {
  return q.unit === "" ? q.value : q.value + space + q.unit;
}

/** Bytes per second as bit/s. */
export function bitsPerSecond(bytesPerSecond: number): Quantity {
  return si(bytesPerSecond * 8, "bit/s");
}

export function packetsPerSecond(n: number): Quantity {
  return si(n, "p/s");
}

export function bytes(n: number): string {
  return text(si(n, "B"));
}

/** A whole number in groups of three: 1 234 567, exact. */
export function count(n: number): string {
  if (!Number.isFinite(n)) return none;
  return Math.round(n).toString().replaceAll(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** A short form of a count: exact below 10 000, with a prefix above. */
export function shortCount(n: number): string {
  if (Math.abs(n) < 10_000) return count(n);
  const q = si(n, "");
  return q.value + space + q.unit;
}

/** A share of 0 to 1; what is nearly all or nearly nothing is not rounded to all or nothing. */
export function percent(share: number): string {
  if (!Number.isFinite(share)) return none;
  const p = share * 100;
  if (p > 0 && p < 1) return `<${"\u2009"}1${space}%`;
  if (p > 99 && p < 100) return `>${"\u2009"}99${space}%`;
  return `${Math.round(p)}${space}%`;
}

/** A range of shares. */
export function percentRange(low: number, high: number): string {
  const whole = (share: number): number => Math.round(share * 100);
  return `${whole(low)}\u2009–\u2009${whole(high)}${space}%`;
}

/** A score of 0 to 1. Rounded down: what is shown as 0.80 has reached the line of 0.8. */
export function score(n: number): string {
  if (!Number.isFinite(n)) return none;
  return (Math.floor(n * 100 + 1e-9) / 100).toFixed(2);
}

/** A feature's value with its unit as the detector names it. */
export function measured(value: number, unit: string): string {
  switch (unit) {
    case "":
      return Number.isInteger(value) ? count(value) : value.toPrecision(3);
    case "bytes/s":
      return text(bitsPerSecond(value));
    case "bytes":
      return bytes(value);
    case "bit/byte":
      return `${value.toFixed(2)}${space}bit/byte`;
    default:
      return `${plainNumber(value)}${space}${unit}`;
  }
}

/** A range of what is usual, the unit once. */
export function measuredRange(low: number, high: number, unit: string): string {
  const from = measured(low, unit);
  const to = measured(high, unit);
  if (from === to) return to;
  const [fromNumber, fromUnit] = split(from);
  const [, toUnit] = split(to);
  return fromUnit === toUnit ? `${fromNumber}\u2009–\u2009${to}` : `${from}\u2009–\u2009${to}`;
}

function split(s: string): [string, string] {
  const at = s.indexOf(space);
  return at < 0 ? [s, ""] : [s.slice(0, at), s.slice(at + 1)];
}

function plainNumber(n: number): string {
  if (Number.isInteger(n)) return shortCount(n);
  if (Math.abs(n) >= 1000) return shortCount(n);
  return Math.abs(n) >= 100 ? n.toFixed(0) : Math.abs(n) >= 10 ? n.toFixed(1) : n.toFixed(2);
}

/** The least of 1, 2, 5 times a power of ten that is not below n, and into how many even steps it divides. */
export function niceScale(n: number): { top: number; steps: number } {
  if (!(n > 0)) return { top: 1, steps: 5 };
  const power = 10 ** Math.floor(Math.log10(n));
  const lead = n / power;
  if (lead <= 1) return { top: power, steps: 5 };
  if (lead <= 2) return { top: 2 * power, steps: 4 };
  if (lead <= 5) return { top: 5 * power, steps: 5 };
  return { top: 10 * power, steps: 5 };
}
