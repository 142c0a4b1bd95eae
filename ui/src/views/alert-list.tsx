import { useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import type { Alert } from "../api/schema.ts";
import { Age, FromPacket } from "../components/basics.tsx";
import { SeverityShape } from "../components/shapes.tsx";
import { title } from "../format/names.ts";
import { duration, parseTime } from "../format/time.ts";
import { score } from "../format/units.ts";
import type { Store } from "../state/store.ts";
import { Decide } from "./decide.tsx";
import { AlertDetail } from "./detail.tsx";
import { useKeptFocus } from "./focus.ts";

/** From this age on, ms, an age is written in minutes or longer: it need not be written every second. */
const slowAge = 60_000;
const quietMs = 10_000; // without new evidence, before an open incident is said to be quiet

/** A list of alerts: one stop of the tab key, between whose rows arrows, Home and End move. */
export function AlertList({ alerts, store, label }: { readonly alerts: readonly Alert[]; readonly store: Store; readonly label: string }): JSX.Element {
  const list = useRef<HTMLUListElement>(null);
  const active = useSignal<string | null>(null); // the id of the row that the keyboard is on
  useKeptFocus(list, ".alert-head");
  void store.now.value; // renders with the clock
  const now = store.captureNow();
  const stop = alerts.some((a) => a.id === active.value) ? active.value : alerts[0]?.id;
  return (
    <ul ref={list} class="alert-list" aria-label={label} tabIndex={-1} onKeyDown={moveByArrow}>
      {alerts.map((a) => (
        <AlertItem key={a.id} alert={a} store={store} now={settled(a, now, store.openAlert.value === a.id)} active={active} stop={stop === a.id} />
      ))}
    </ul>
  );
}

/** The clock for an alert's row, which stands still while nothing in the row would change. */
function settled(a: Alert, now: number, open: boolean): number {
  return open || now - parseTime(a.ts) < slowAge ? now : Math.floor(now / 10_000) * 10_000;
}

interface ItemProps {
  readonly alert: Alert;
  readonly store: Store;
  readonly now: number;
  readonly active: Signal<string | null>;
  /** The tab key stops here. */
  readonly stop: boolean;
}

function AlertItem({ alert: a, store, now, active, stop }: ItemProps): JSX.Element {
  const open = store.openAlert.value === a.id;
  const started = parseTime(a.ts);
  return (
    <li class={`alert ${a.state} severity-${a.severity} ${open ? "expanded" : ""}`} data-alert={a.id}>
      <button
        type="button"
        class="alert-head"
        aria-expanded={open}
        tabIndex={stop ? 0 : -1}
        onFocus={() => (active.value = a.id)}
        onClick={() => store.toggleAlert(a.id)}
      >
        <span class="alert-line">
          <SeverityShape severity={a.severity} />
          <span class="alert-severity">{title(a.severity)}</span>
          <span class="alert-category">{title(a.category)}</span>
          <span class="alert-score num">
            <span class="hidden">score </span>
            {score(a.score)}
          </span>
          {store.isFleet.value && store.chosen.value === "" && <span class="by-sensor"><FromPacket text={a.sensor} /></span>}
          <span class="spring" />
          <span class={`alert-state ${a.state}`}>
            {stateText(a, now)}
          </span>
          <Age at={started} now={now} />
        </span>
        <span class="alert-summary">
          <FromPacket text={a.summary} />
        </span>
      </button>
      {open && (
        <AlertDetail alert={a} now={now}>
          <Decide alert={a} store={store} />
        </AlertDetail>
      )}
    </li>
  );
}

/** An incident closes some time after its last evidence; in between it is quiet. */
function stateText(a: Alert, now: number): string {
  const last = parseTime(a.last_ts);
  if (a.state !== "open") return `lasted ${duration(Math.max(0, last - parseTime(a.ts)) / 1000)}`;
  return now - last > quietMs ? `quiet for ${duration((now - last) / 1000)}` : "going on";
}

function moveByArrow(e: KeyboardEvent): void {
  if (!(e.target instanceof HTMLElement) || !e.target.classList.contains("alert-head")) return;
  const heads = allHeads();
  const at = heads.indexOf(e.target);
  const targets: Readonly<Record<string, number>> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: heads.length - 1 };
  const to = targets[e.key];
  if (to === undefined) return;
  e.preventDefault();
  focusHead(heads[to]);
}

/** Moves the focus so many alerts further, or to the first if no alert has it. */
export function moveFocus(by: number): void {
  const heads = allHeads();
  const at = heads.findIndex((h) => h.parentElement?.contains(document.activeElement) ?? false);
  focusHead(heads[at < 0 ? 0 : Math.min(heads.length - 1, Math.max(0, at + by))]);
}

export function focusHead(head: HTMLElement | undefined): void {
  head?.focus({ preventScroll: true });
  head?.scrollIntoView({ block: "nearest" });
}

export function allHeads(): HTMLElement[] {
  return [...document.querySelectorAll<HTMLElement>(".alert-head")];
}
