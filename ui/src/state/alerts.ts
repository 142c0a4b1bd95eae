// The alerts that the page knows: one for each incident, in its latest revision, the newest first.
import type { Alert, Severity } from "../api/schema.ts";
import { parseTime } from "../format/time.ts";

/** So many are kept; older ones are in the database. */
const most = 200;

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
  if (!changed) return known;
  return [...byID.values()].sort(newestFirst).slice(0, most);
}

function newestFirst(a: Alert, b: Alert): number {
  return parseTime(b.ts) - parseTime(a.ts) || (a.id < b.id ? 1 : -1);
}

export const severities = ["critical", "high", "medium", "low"] as const satisfies readonly Severity[];

/** How many incidents still go on, by severity. */
export function openBySeverity(alerts: readonly Alert[]): ReadonlyMap<Severity, number> {
  const counts = new Map<Severity, number>();
  for (const a of alerts) {
    if (a.state === "open") counts.set(a.severity, (counts.get(a.severity) ?? 0) + 1);
  }
  return counts;
}

/** What a screen reader is told of alerts that have come since it was last told. */
export function announcement(fresh: readonly Alert[]): string {
  const [first] = fresh;
  if (first === undefined) return "";
  const one = `${first.severity} alert: ${first.summary}`;
  return fresh.length === 1 ? one : `${fresh.length} new alerts. The latest: ${one}`;
}
