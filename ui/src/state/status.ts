// What the page has to say about itself and the program: derived, so that every state has its words in one place.
import type { Link } from "../api/socket.ts";
import type { Health, Stats } from "../api/schema.ts";
import { age, clock, duration, parseTime } from "../format/time.ts";
import { count, percent, shortCount } from "../format/units.ts";
import { dropReason, printable, words } from "../format/names.ts";
import { isFleet } from "./fleet.ts";
import { gapMs } from "./traffic.ts";

export type Tone = "good" | "info" | "warn" | "bad";

/** How the numbers on the page relate to the present. */
export type Freshness =
  | { readonly kind: "connecting" }
  | { readonly kind: "live" }
  | { readonly kind: "stale"; readonly seconds: number }
  | {
      readonly kind: "reconnecting";
      readonly attempt: number;
      /** Until the next attempt. */
      readonly seconds: number;
      readonly reason: string;
      /** Age of the numbers in ms; NaN: there are none. */
      readonly age: number;
    }
  | { readonly kind: "locked" };

/** statsAt is the arrival of the latest numbers, by this machine's clock. */
export function freshness(link: Link, statsAt: number, now: number): Freshness {
  switch (link.kind) {
    case "locked":
      return { kind: "locked" };
    case "waiting":
      return {
        kind: "reconnecting", attempt: link.attempt, seconds: Math.max(0, link.until - now) / 1000, reason: link.reason,
        age: now - statsAt,
      };
    case "connecting":
      return link.attempt === 0 ? { kind: "connecting" } : { kind: "reconnecting", attempt: link.attempt, seconds: 0, reason: "", age: now - statsAt };
    case "live":
      if (Number.isNaN(statsAt)) return { kind: "connecting" };
      return now - statsAt > gapMs ? { kind: "stale", seconds: (now - statsAt) / 1000 } : { kind: "live" };
  }
}

export interface Notice {
  readonly id: string;
  readonly tone: Tone;
  readonly title: string;
  readonly text: string;
}

type Drop = Stats["drops"][number];

/** A loss is packets that nothing has looked at or judged. A list that is full, or a row not stored, loses no packet. */
export function isLoss(d: Drop): boolean {
  return d.unit === "packet" && (d.effect === "unseen" || d.effect === "unjudged");
}

const effectWords: Readonly<Record<Drop["effect"], string>> = {
  unseen: "not seen", unjudged: "not judged", unstored: "not stored", unlisted: "not listed",
};

/** A count with its unit and what follows from it: "40 rows not listed". */
export function effectText(d: Drop): string {
  return `${count(d.count)} ${words(d.unit)}${d.count === 1 ? "" : "s"} ${effectWords[d.effect]}`;
}

/** Bounds that were reached without a packet lost, most first. */
export function bounds(stats: Stats): readonly Drop[] {
  return stats.drops.filter((d) => d.count > 0 && !isLoss(d)).sort((a, b) => b.count - a.count);
}

/** The packets that are lost, most first. Stages without losses are left out. */
export function losses(stats: Stats): readonly { where: string; why: string; count: number }[] {
  return stats.drops
    .filter((d) => d.count > 0 && isLoss(d))
    .map((d) => ({ where: words(d.stage), why: dropReason(d.reason), count: d.count }))
    .sort((a, b) => b.count - a.count);
}

/** The packets that each stage has lost by reason, in the order of the data's way; of a stage without losses, nothing. */
export function lossesByStage(stats: Stats): ReadonlyMap<string, readonly Stats["drops"][number][]> {
  const stages = new Map<string, Stats["drops"][number][]>();
  for (const d of stats.drops) {
    const known = stages.get(d.stage) ?? [];
    if (d.count > 0 && isLoss(d)) known.push(d);
    stages.set(d.stage, known);
  }
  return stages;
}

/** The notices above the page, the worst first. */
export function notices(stats: Stats | null, health: Health | null, recentLosses: number): readonly Notice[] {
  const all: Notice[] = [];
  for (const r of health?.reasons ?? []) {
    if (r.code !== "drops") all.push({ id: r.code, tone: "bad", title: "Degraded", text: printable(r.message) });
  }
  if (stats === null) return all;
  const lost = losses(stats);
  if (recentLosses > 0) {
    const where = lost.map((l) => `${count(l.count)} in ${l.where} (${l.why})`).join(", ");
    all.push({ id: "losses", tone: "warn", title: "Degraded", text: `${count(recentLosses)} packets lost in the last minute; since the start ${where}.` });
  }
  const files = (stats.interfaces ?? []).filter((i) => i.link === "ended");
  if (files.length > 0) {
    const names = files.map((i) => i.name).join(", ");
    all.push({
      id: "ended", tone: "info", title: "The file has ended",
      text: `All of ${names} has been read: ${shortCount(stats.packets)} packets. What it showed stays here; nothing new will come.`,
    });
  }
  return all;
}

/** Why no traffic is shown; empty while there is some. now is the server's clock in ms. */
export function silence(stats: Stats | null, now: number): string {
  if (stats === null) return "";
  if (isFleet(stats)) return stats.packets === 0 ? "No sensor has told of a packet yet." : "";
  const links = stats.interfaces ?? [];
  const bad = links.filter((i) => i.link === "gone" || i.link === "down");
  if (bad.length > 0 && bad.length === links.length) {
    return `${bad.map((i) => `${i.name} is ${i.link}`).join(", ")}: no packets come from there.`;
  }
  if (links.some((i) => i.link === "ended")) return "The file has ended.";
  const last = parseTime(stats.last_packet_ts);
  if (Number.isNaN(last)) {
    return stats.uptime_seconds < 3
      ? `Waiting for the first packet on ${stats.source}.`
      : `No packet on ${stats.source} in ${duration(stats.uptime_seconds)}: is it the right interface, and does a filter leave anything?`;
  }
  const quiet = (now - last) / 1000;
  // A capture that keeps its time is as old as it is.
  if (stats.packet_rate > 0 || quiet < 5 || quiet > 86_400) return "";
  return `No packet on ${stats.source} for ${duration(quiet)}.`;
}

export interface Calm {
  readonly title: string;
  readonly text: string;
}

/**
 * What can be said while there is no alert. Nothing is abnormal only where packets are seen and judged, and the server speaks;
 * since is the time in ms of what it has last said, unjudged the sensors of a fleet that nobody judges.
 */
export function calm(stats: Stats | null, f: Freshness, since: number, unjudged: readonly string[] = []): Calm {
  if (f.kind !== "live") {
    return Number.isNaN(since) || stats === null
      ? { title: "Unknown", text: "NetLyra has not answered yet." }
      : { title: `Unknown since ${clock(since)}`, text: "Nothing has come from NetLyra since then. There was no alert until then." };
  }
  if (stats === null) return { title: "Unknown", text: "NetLyra has not answered yet." };
  if (stats.detector.name === "") return { title: "Nothing is judged", text: isFleet(stats) ? "No detector of any sensor is heard." : "The detector is off." };
  if (stats.packets === 0) return { title: "Nothing to judge: no packets", text: "No packet has come yet." };
  if (isFleet(stats) && unjudged.length > 0) {
    const some = unjudged.slice(0, 3).map(printable).join(", ");
    return { title: "No alerts", text: `Nothing abnormal where it is judged. Nobody judges ${some}${unjudged.length > 3 ? ` and ${count(unjudged.length - 3)} more` : ""}.` };
  }
  if (allEnded(stats)) return { title: "No alerts", text: "Nothing abnormal in the file, as far as could be judged." };
  return stats.detector.learning >= 1
    ? { title: "No alerts", text: "Nothing abnormal. The detector knows this network." }
    : { title: "No alerts", text: "Nothing abnormal so far. Fixed limits are watched from the first packets on; what is usual here is still being learned." };
}

/** How far each part of the detector has learned, the furthest first; empty without parts. */
export function learnedParts(d: Stats["detector"]): string {
  const parts = Object.entries(d.parts ?? {}).sort(([, a], [, b]) => b - a);
  return parts.map(([name, share]) => `${words(name)} ${percent(share)}`).join(", ");
}

/** Whether there is no source left that packets could come from. */
export function allEnded(stats: Stats | null): boolean {
  const links = stats?.interfaces ?? [];
  return links.length > 0 && links.every((i) => i.link === "ended");
}

/** The state of the connection, in a tone and a word. */
export function linkState(f: Freshness, paused: boolean, stats: Stats | null): readonly [Tone, string] {
  switch (f.kind) {
    case "connecting":
      return ["info", "connecting"];
    case "live":
      if (paused) return ["info", "paused"];
      return allEnded(stats) ? ["info", "ended"] : ["good", "live"];
    case "stale":
      return ["warn", `stale ${age(f.seconds * 1000)}`];
    case "reconnecting":
      return ["bad", "disconnected"];
    case "locked":
      return ["warn", "token needed"];
  }
}

const linkTexts: Readonly<Record<string, readonly [Tone, string]>> = {
  up: ["good", "up"],
  down: ["bad", "down"],
  gone: ["bad", "gone"],
  file: ["good", "replay"],
  ended: ["info", "ended"],
};

/** The state of a source of packets. Without news it is not known. */
export function sourceState(link: string, f: Freshness): readonly [Tone, string] {
  if (f.kind !== "live") return ["info", "unknown"];
  return linkTexts[link] ?? ["info", link];
}
