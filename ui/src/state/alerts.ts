// The alerts that the page knows: one for each incident, in its latest revision, the newest first. What is loaded is without holes: from
// the newest down to an end, below which the API's pages go on.
import type { Alert, Severity } from "../api/schema.ts";
import { parseTime } from "../format/time.ts";

/** So many are kept at first, and as many more as somebody has loaded. */
export const room = 200;

/** Which alerts follow: the filter and the cursor of the API. */
export interface Following {
  readonly cursor?: string;
  /** Exclusive. */
  readonly to?: string;
}

/** The oldest that is loaded, and what follows it; null: nothing does. */
interface End {
  readonly at: Alert;
  readonly following: Following | null;
}

export class AlertList {
  items: readonly Alert[] = [];
  /** Those that go on, loaded or not; null until the server has been asked. */
  open: ReadonlyMap<string, Severity> | null = null;
  #end: End | null = null;
  #room = room;
  #during: Alert[] | null = null; // revisions that have come since the open ones were asked for

  clear(): void {
    this.items = [];
    this.open = null;
    this.#end = null;
    this.#room = room;
  }

  /** Takes a revision as it happens. True if the incident has just begun, as far as is known here. */
  put(a: Alert): boolean {
    this.#during?.push(a);
    if (this.open !== null) this.open = withRevision(this.open, a);
    const known = this.items.some((k) => k.id === a.id);
    // One that is older than all that is loaded comes when its page is loaded: it would make a hole.
    if (!known && this.#end !== null && this.#end.following !== null && newestFirst(a, this.#end.at) > 0) return false;
    this.items = mergeAlerts(this.items, [a]);
    this.#cut();
    return !known;
  }

  /**
   * Takes the newest alerts from the API, and what follows them. Of those that are doubted, the ones go that should be among them and
   * are not: they have left the list. What is known beyond a hole goes too.
   */
  renew(newest: readonly Alert[], following: Following | null, doubted: ReadonlySet<string> = new Set()): void {
    const ids = new Set(newest.map((a) => a.id));
    const last = newest.at(-1);
    const above = (a: Alert): boolean => following === null || last === undefined || newestFirst(a, last) < 0;
    const joined = this.#end !== null && this.items.some((a) => ids.has(a.id));
    const kept = this.items.filter((a) => ids.has(a.id) || (above(a) ? !doubted.has(a.id) : joined));
    this.items = mergeAlerts(newest, kept);
    const oldest = this.items.at(-1);
    if (oldest === undefined) this.#end = null;
    else if (this.#end === null || last === undefined || above(oldest) || oldest.id === last.id) this.#end = { at: last ?? oldest, following };
    this.#cut();
  }

  /** Which alerts follow those that are loaded; null: none does, or none is loaded. */
  following(): Following | null {
    return this.#end?.following ?? null;
  }

  /** Makes room for a page that is about to be loaded. */
  expect(n: number): void {
    this.#room = Math.max(this.#room, this.items.length + n);
  }

  /** Takes the page that was asked for as following; one that follows something else by now would leave a hole, and is not taken. */
  append(asked: Following | null, page: readonly Alert[], following: Following | null): void {
    if (asked !== this.following()) return;
    this.items = mergeAlerts(this.items, page);
    const oldest = this.items.at(-1);
    if (oldest !== undefined) this.#end = { at: oldest, following };
  }

  /** Is called when the open ones are asked for. */
  askOpen(): void {
    this.#during = [];
  }

  /** Is called when the open ones are not to be had. */
  openFailed(): void {
    this.#during = null;
  }

  /** Takes all that go on, as of when they were asked for. */
  setOpen(all: readonly Alert[]): void {
    let open: ReadonlyMap<string, Severity> = new Map(all.map((a) => [a.id, a.severity]));
    for (const a of this.#during ?? []) open = withRevision(open, a);
    this.#during = null;
    this.open = open;
  }

  /** Lets the oldest go that are too many; the API has them. */
  #cut(): void {
    if (this.items.length <= this.#room) return;
    this.items = this.items.slice(0, this.#room);
    const oldest = this.items.at(-1);
    // In whole milliseconds: what comes twice is merged.
    if (oldest !== undefined) this.#end = { at: oldest, following: { to: new Date(parseTime(oldest.ts) + 1).toISOString() } };
  }
}

function withRevision(open: ReadonlyMap<string, Severity>, a: Alert): ReadonlyMap<string, Severity> {
  const next = new Map(open);
  if (a.state === "open") next.set(a.id, a.severity);
  else next.delete(a.id);
  return next;
}

/** The alerts with more merged in. Of one id the higher revision stays. Unchanged, it is the same list. */
export function mergeAlerts(known: readonly Alert[], more: readonly Alert[]): readonly Alert[] {
  const byID = new Map(known.map((a) => [a.id, a]));
  let changed = false;
  for (const a of more) {
    const old = byID.get(a.id);
    if (old !== undefined && old.rev >= a.rev) continue;
    // The database alone knows what a person has decided.
    const triage = a.triage ?? old?.triage;
    byID.set(a.id, triage === undefined ? a : { ...a, triage });
    changed = true;
  }
  return changed ? [...byID.values()].sort(newestFirst) : known;
}

/** The order of the API: by time, then by id. */
function newestFirst(a: Alert, b: Alert): number {
  if (a.ts !== b.ts) return (a.ts ?? "") < (b.ts ?? "") ? 1 : -1;
  return a.id === b.id ? 0 : a.id < b.id ? 1 : -1;
}

/** What a list has shown by the time that somebody began to point at it, and its last row then. */
export interface Held {
  readonly ids: ReadonlySet<string>;
  readonly last: Alert | undefined;
}

/** What was in the list before and comes back, because its hiding is undone, is not new: it does not wait. */
export function heldAt(shown: readonly Alert[], before: Iterable<string> = []): Held {
  return { ids: new Set([...before, ...shown.map((a) => a.id)]), last: shown.at(-1) };
}

/** The alerts that would move the rows of a held list, and those that do not. */
export function splitHeld(alerts: readonly Alert[], held: Held | null): { readonly shown: readonly Alert[]; readonly waiting: readonly Alert[] } {
  if (held === null) return { shown: alerts, waiting: [] };
  const { ids, last } = held;
  const waits = (a: Alert): boolean => !ids.has(a.id) && last !== undefined && newestFirst(a, last) < 0;
  return { shown: alerts.filter((a) => !waits(a)), waiting: alerts.filter(waits) };
}

export const severities = ["critical", "high", "medium", "low"] as const satisfies readonly Severity[];

/** The gravest severity among alerts; null without any. */
export function gravest(alerts: readonly Alert[]): Severity | null {
  return severities.find((s) => alerts.some((a) => a.severity === s)) ?? null;
}

/** How many of the severities there are. */
export function tally(open: Iterable<Severity>): ReadonlyMap<Severity, number> {
  const counts = new Map<Severity, number>();
  for (const s of open) counts.set(s, (counts.get(s) ?? 0) + 1);
  return counts;
}

/** What a screen reader is told of alerts that have come since it was last told. */
export function announcement(fresh: readonly Alert[]): string {
  const [first] = fresh;
  if (first === undefined) return "";
  const one = `${first.severity} alert: ${first.summary}`;
  return fresh.length === 1 ? one : `${fresh.length} new alerts. The latest: ${one}`;
}
