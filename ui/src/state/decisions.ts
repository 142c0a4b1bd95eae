// What people have decided: which incidents are normal here, and what is hidden because of that.
import { signal } from "@preact/signals";
import { addException, getAlerts, getExceptions, previewException, removeException, setTriage, type AlertsAsked } from "../api/rest.ts";
import type { Alert, AlertPage, Exception, ExceptionPreview, NewException, Warnings } from "../api/schema.ts";
import { title } from "../format/names.ts";
import { problemOf, type Problem } from "./problems.ts";

const hiddenPage = 100;
const longestPage = 500; // of the API

/** What the panel of alerts shows. */
export type View = "listed" | "hidden" | "exceptions";

/** One thing about an alert that an exception can be about. */
export interface Aspect {
  readonly name: "host" | "peer" | "port" | "category";
  readonly value: string | number;
  /** Chosen at first: as narrow as makes sense. */
  readonly chosen: boolean;
}

/**
 * What an exception made from this alert can be about. Of an incident with many addresses at one end only the other end can be
 * named: an exception about one of the many would not match it.
 */
export function aspects(a: Alert): readonly Aspect[] {
  const many = a.peers.total > 1;
  const manySources = many && (a.peers.top ?? []).some((p) => p.name === a.src_ip) && !(a.peers.top ?? []).some((p) => p.name === a.dst_ip);
  const host = manySources ? a.dst_ip : a.src_ip;
  return [
    { name: "host", value: host, chosen: true },
    ...(many ? [] : [{ name: "peer", value: a.dst_ip, chosen: true } as const]),
    ...(a.dst_port === 0 ? [] : [{ name: "port", value: a.dst_port, chosen: true } as const]),
    { name: "category", value: a.category, chosen: true },
  ];
}

/** The exception about the chosen aspects. */
export function exceptionAbout(chosen: readonly Aspect[]): NewException {
  return Object.fromEntries(chosen.map((c) => [c.name, c.value])) as NewException;
}

const hour = 3_600_000;

/** For how long something can be said to be normal: hours, 0 for ever. */
export const terms = [
  { name: "1 day", hours: 24 },
  { name: "1 week", hours: 7 * 24 },
  { name: "30 days", hours: 30 * 24 },
  { name: "for ever", hours: 0 },
] as const;

/** When an exception of so many hours ends, as the API takes it. */
export function expiry(hours: number, now: number): string | null {
  return hours === 0 ? null : new Date(now + hours * hour).toISOString();
}

/** What has been done, for as long as it can be undone at once. */
export interface Done {
  readonly text: string;
  readonly warnings: Warnings;
  /** Null: there is no way back, or it has been gone. */
  readonly undo: (() => Promise<void>) | null;
  readonly problem: Problem | null;
}

export class Decisions {
  readonly view = signal<View>("listed");
  readonly exceptions = signal<readonly Exception[]>([]);
  readonly hidden = signal<readonly Alert[]>([]);
  /** More hidden alerts can be loaded. */
  readonly moreHidden = signal(false);
  readonly problem = signal<Problem | null>(null);
  readonly done = signal<Done | null>(null);
  /** Hidden alerts of this sensor are shown; "": of all. */
  sensor = "";
  #calls = 0;
  #hiddenWanted = hiddenPage;

  show(view: View): void {
    this.view.value = view;
    void this.load();
  }

  /** Fetches what is shown. */
  async load(): Promise<void> {
    if (this.view.value === "listed") return;
    const call = ++this.#calls;
    try {
      const [exceptions, hidden] = await Promise.all([getExceptions(), newest({ triage: "hidden", ...ofSensor(this.sensor) }, this.#hiddenWanted)]);
      if (call !== this.#calls) return; // a later call has overtaken this one
      this.exceptions.value = exceptions;
      this.hidden.value = hidden.items;
      this.moreHidden.value = hidden.next !== null;
      this.problem.value = null;
    } catch (e) {
      this.problem.value = await problemOf(e);
    }
  }

  async loadOlderHidden(): Promise<void> {
    this.#hiddenWanted = this.hidden.value.length + hiddenPage;
    await this.load();
  }

  /** What the exception would hide of the list. */
  preview(e: NewException): Promise<ExceptionPreview> {
    return previewException(e);
  }

  /** The problem, or null. The server then tells that the list of alerts has changed. */
  add(e: NewException): Promise<Problem | null> {
    return this.#change(async () => {
      const made = await addException(e);
      this.#did(`Hidden from now on: ${scope(made)}.`, () => removeException(made.id), made.warnings);
    });
  }

  remove(e: Exception): Promise<Problem | null> {
    return this.#change(async () => {
      await removeException(e.id);
      const { id: _id, created: _created, hits: _hits, warnings: _warnings, ...again } = e;
      this.#did(`Not hidden any more: ${scope(e)}.`, () => addException(again as NewException));
    });
  }

  /** Puts an alert back into the list, whatever exception hides it. */
  unhide(id: string): Promise<Problem | null> {
    return this.#change(async () => {
      await setTriage(id, "new");
      this.#did("The alert is in the list again.", () => setTriage(id, "hidden"));
    });
  }

  #did(text: string, back: () => Promise<unknown>, warnings: Warnings = []): void {
    const undo = async (): Promise<void> => {
      const problem = await this.#change(back);
      this.done.value = problem === null ? { text: "Undone.", warnings: [], undo: null, problem } : { text, warnings, undo, problem };
    };
    this.done.value = { text, warnings, undo, problem: null };
  }

  async #change(request: () => Promise<unknown>): Promise<Problem | null> {
    try {
      await request();
    } catch (e) {
      return problemOf(e);
    }
    void this.load();
    return null;
  }
}

/** The filter of the API for the alerts of a sensor, or of all (""). */
export function ofSensor(sensor: string): Pick<AlertsAsked, "sensor"> {
  return sensor === "" ? {} : { sensor };
}

/** So many alerts, the newest first, or all there are, and the cursor of those that follow. */
export async function newest(asked: Omit<AlertsAsked, "limit">, wanted: number): Promise<AlertPage> {
  let page = await getAlerts({ ...asked, limit: Math.min(wanted, longestPage) });
  const items = [...page.items];
  while (items.length < wanted && page.next !== null) {
    page = await getAlerts({ ...asked, limit: Math.min(wanted - items.length, longestPage), cursor: page.next });
    items.push(...page.items);
  }
  return { items, next: page.next };
}

/** An exception in words. */
export function scope(e: NewException): string {
  const ends = [...(e.host === undefined ? [] : [e.host]), ...(e.peer === undefined ? [] : [`peer ${e.peer}`])];
  return [
    ...(e.category === undefined ? [] : [title(e.category)]),
    ...(ends.length === 0 ? [] : [ends.join(" ↔ ")]),
    ...(e.port === undefined ? [] : [`port ${e.port}`]),
    ...(e.proto === undefined ? [] : [e.proto]),
    ...(e.sensor === undefined ? [] : [`sensor ${e.sensor}`]),
  ].join(", ");
}
