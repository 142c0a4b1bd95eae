// What people have decided: which incidents are normal here, and what is hidden because of that.
import { signal } from "@preact/signals";
import { addException, getAlerts, getExceptions, previewException, removeException, setTriage } from "../api/rest.ts";
import type { Alert, Exception, NewException } from "../api/schema.ts";

const hiddenWanted = 100;

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

export class Decisions {
  readonly view = signal<View>("listed");
  readonly exceptions = signal<readonly Exception[]>([]);
  readonly hidden = signal<readonly Alert[]>([]);
  /** Why the lists are not up to date; empty while they are. */
  readonly problem = signal("");
  #calls = 0;

  show(view: View): void {
    this.view.value = view;
    void this.load();
  }

  /** Fetches what is shown. */
  async load(): Promise<void> {
    if (this.view.value === "listed") return;
    const call = ++this.#calls;
    try {
      const [exceptions, hidden] = await Promise.all([getExceptions(), getAlerts(hiddenWanted, true)]);
      if (call !== this.#calls) return; // a later call has overtaken this one
      this.exceptions.value = exceptions;
      this.hidden.value = hidden;
      this.problem.value = "";
    } catch (e) {
      this.problem.value = message(e);
    }
  }

  /** How many incidents of the list the exception would hide. */
  async preview(e: NewException): Promise<number> {
    return (await previewException(e)).count;
  }

  /** The problem as text, or null. The server then tells that the list of alerts has changed. */
  add(e: NewException): Promise<string | null> {
    return this.#change(addException(e));
  }

  remove(id: string): Promise<string | null> {
    return this.#change(removeException(id));
  }

  /** Puts an alert back into the list, whatever exception hides it. */
  unhide(id: string): Promise<string | null> {
    return this.#change(setTriage(id, "new"));
  }

  async #change(request: Promise<void>): Promise<string | null> {
    try {
      await request;
    } catch (e) {
      return message(e);
    }
    void this.load();
    return null;
  }
}

function message(e: unknown): string {
  return e instanceof Error ? e.message : String(e);
}
