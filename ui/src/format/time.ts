// Times for people: ages relative, with the absolute time at hand.

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/** An age in ms in its greatest unit: "now", "12 s", "4 min", "3 h", "2 d". */
export function age(ms: number): string {
  if (!Number.isFinite(ms)) return "–";
  if (ms < second) return "now";
  if (ms < minute) return `${Math.floor(ms / second)}\u00a0s`;
  if (ms < hour) return `${Math.floor(ms / minute)}\u00a0min`;
  if (ms < day) return `${Math.floor(ms / hour)}\u00a0h`;
  return `${Math.floor(ms / day)}\u00a0d`;
}

/** How long ago something was: "now", "12 s ago". */
export function ago(ms: number): string {
  return ms < second ? "now" : `${age(ms)} ago`;
}

/** A length of time in s in its two greatest units: "0.8 s", "12 s", "3 min 20 s", "5 h 4 min", "3 d 2 h". */
export function duration(s: number): string {
  if (!Number.isFinite(s) || s < 0) return "–";
  if (s < 10) return `${s.toFixed(1)}\u00a0s`;
  const whole = Math.floor(s);
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([n]) => n > 0);
  return parts
    .slice(first, first + 2)
    .filter(([n], i) => n > 0 || i === 0)
    .map(([n, unit]) => `${n}\u00a0${unit}`)
    .join(" ");
}

/** Local date and time to the millisecond, with the zone: 2026-11-24 05:41:33.000 +01:00. */
export function absolute(ms: number): string {
  if (!Number.isFinite(ms)) return "unknown";
  const d = new Date(ms);
  const offset = -d.getTimezoneOffset();
  const local = new Date(ms + offset * minute).toISOString();
  const zone = `${offset < 0 ? "−" : "+"}${two(Math.abs(offset) / 60)}:${two(Math.abs(offset) % 60)}`;
  return `${local.slice(0, 10)} ${local.slice(11, 23)} ${zone}`;
}

/** Local time of day: 05:41:33. */
export function clock(ms: number): string {
  const d = new Date(ms);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

function two(n: number): string {
  return Math.floor(n).toString().padStart(2, "0");
}

/** RFC 3339 to ms since the epoch; NaN for none. */
export function parseTime(text: string | null): number {
  return text === null ? Number.NaN : Date.parse(text);
}
