import { useSignalEffect, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import type { Alert } from "../api/schema.ts";
import { Age, Empty, FromPacket, Panel, Skeleton } from "../components/basics.tsx";
import { SeverityShape } from "../components/shapes.tsx";
import { title } from "../format/names.ts";
import { duration, parseTime } from "../format/time.ts";
import { count, score } from "../format/units.ts";
import { setSingleKeys, singleKeys } from "../state/keys.ts";
import { calm } from "../state/status.ts";
import type { Store } from "../state/store.ts";
import type { Decisions, View } from "../state/decisions.ts";
import { Decide } from "./decide.tsx";
import { AlertDetail } from "./detail.tsx";
import { ExceptionList } from "./exceptions.tsx";
import { useShortcuts } from "./shortcuts.ts";

const views: readonly { readonly view: View; readonly name: string }[] = [
  { view: "listed", name: "List" },
  { view: "hidden", name: "Hidden" },
  { view: "exceptions", name: "Exceptions" },
];

export function AlertsPanel({ store }: { readonly store: Store }): JSX.Element {
  const alerts = store.alerts.value;
  const open = store.openAlert;
  useTriageKeys(store, open);
  // Somebody may have opened it from elsewhere on the page: a screen away, it would not be seen.
  useSignalEffect(() => {
    const id = open.value;
    if (id === null) return;
    requestAnimationFrame(() => document.querySelector(`.alert[data-alert="${CSS.escape(id)}"]`)?.scrollIntoView({ block: "nearest" }));
  });
  const going = alerts.filter((a) => a.state === "open").length;
  return (
    <Panel
      id="alerts"
      title="Alerts"
      extra={
        <>
          <span class="panel-note num">
            {alerts.length === 0 ? "" : `${count(going)} open, ${count(alerts.length - going)} closed`}
          </span>
          <label class="keys">
            <input type="checkbox" checked={singleKeys.value} onChange={(e) => setSingleKeys(e.currentTarget.checked)} />
            <span>
              Keys <kbd>j</kbd> <kbd>k</kbd> move, <kbd>p</kbd> pause
            </span>
          </label>
          <ViewSwitch decisions={store.decisions} open={open} />
        </>
      }
    >
      <Content store={store} open={open} />
      <div class="hidden" aria-live="polite">
        {store.announced.value}
      </div>
    </Panel>
  );
}

function ViewSwitch({ decisions, open }: { readonly decisions: Decisions; readonly open: Signal<string | null> }): JSX.Element {
  const show = (view: View): void => {
    open.value = null;
    decisions.show(view);
  };
  return (
    <div class="switch" role="group" aria-label="Which alerts">
      {views.map(({ view, name }) => (
        <button key={view} type="button" aria-pressed={decisions.view.value === view} onClick={() => show(view)}>
          {name}
        </button>
      ))}
    </div>
  );
}

function Content({ store, open }: { readonly store: Store; readonly open: Signal<string | null> }): JSX.Element {
  const decisions = store.decisions;
  const view = decisions.view.value;
  if (view === "listed") return <Listed store={store} open={open} />;
  return (
    <div class="scroll alert-scroll">
      {decisions.problem.value !== "" && (
        <div class="notice tone-bad" role="status">
          <strong>Not up to date</strong>
          <span>{decisions.problem.value}</span>
          <button type="button" onClick={() => void decisions.load()}>
            Try again
          </button>
        </div>
      )}
      {view === "exceptions" && <ExceptionList decisions={decisions} now={store.now.value} />}
      {view === "hidden" && decisions.hidden.value.length === 0 && <Empty title="Nothing is hidden" text="Exceptions hide what is normal here; it is kept all the same." />}
      {view === "hidden" && <AlertList alerts={decisions.hidden.value} store={store} open={open} />}
    </div>
  );
}

function Listed({ store, open }: { readonly store: Store; readonly open: Signal<string | null> }): JSX.Element {
  const state = store.alertsState.value;
  const alerts = store.alerts.value;
  return (
    <div class="scroll alert-scroll">
      {state.kind === "failed" && (
        <div class="notice tone-bad" role="status">
          <strong>Earlier alerts are missing</strong>
          <span>{state.message}</span>
          <button type="button" onClick={() => store.retryAlerts()}>
            Try again
          </button>
        </div>
      )}
      {alerts.length === 0 && state.kind === "loading" && <Skeleton rows={5} />}
      {alerts.length === 0 && state.kind === "ready" && <Empty {...calm(store.stats.value, store.freshness.value, store.heardAt)} />}
      <AlertList alerts={alerts} store={store} open={open} />
    </div>
  );
}

function AlertList(props: { readonly alerts: readonly Alert[]; readonly store: Store; readonly open: Signal<string | null> }): JSX.Element {
  const { alerts, store, open } = props;
  void store.now.value; // renders with the clock
  const now = store.captureNow();
  return (
    <ul class="alert-list">
      {alerts.map((a) => (
        <AlertItem
          key={a.id}
          alert={a}
          decisions={store.decisions}
          now={now}
          open={open.value === a.id}
          onToggle={() => (open.value = open.value === a.id ? null : a.id)}
        />
      ))}
    </ul>
  );
}

function AlertItem(props: {
  readonly alert: Alert;
  readonly decisions: Decisions;
  readonly now: number;
  readonly open: boolean;
  readonly onToggle: () => void;
}): JSX.Element {
  const { alert: a, decisions, now, open, onToggle } = props;
  const started = parseTime(a.ts);
  return (
    <li class={`alert ${a.state} severity-${a.severity} ${open ? "expanded" : ""}`} data-alert={a.id}>
      <button type="button" class="alert-head" aria-expanded={open} onClick={onToggle}>
        <span class="alert-line">
          <SeverityShape severity={a.severity} />
          <span class="alert-severity">{title(a.severity)}</span>
          <span class="alert-category">{title(a.category)}</span>
          <span class="alert-score num" title="Score; an alert is raised at 0.80">
            {score(a.score)}
          </span>
          <span class="spring" />
          <span class={`alert-state ${a.state}`}>
            {a.state === "open" ? "going on" : `lasted ${duration(Math.max(0, parseTime(a.last_ts) - started) / 1000)}`}
          </span>
          <Age at={started} now={now} />
        </span>
        <span class="alert-summary">
          <FromPacket text={a.summary} />
        </span>
      </button>
      {open && (
        <AlertDetail alert={a} now={now}>
          <Decide alert={a} decisions={decisions} />
        </AlertDetail>
      )}
    </li>
  );
}

/** j and k move the focus through the alerts; Enter is the focused button's own. Escape closes. p holds the display. */
function useTriageKeys(store: Store, open: Signal<string | null>): void {
  useShortcuts({
    j: () => moveFocus(1),
    k: () => moveFocus(-1),
    p: () => store.setPaused(!store.paused.peek()),
    Escape: () => closeOpen(open),
  });
}

/** Closes the open alert. The focus goes to its head, not to the top of the page. */
function closeOpen(open: Signal<string | null>): void {
  if (open.value === null) return;
  const item = document.querySelector(".alert.expanded");
  if (item?.contains(document.activeElement) === true) item.querySelector<HTMLElement>(".alert-head")?.focus({ preventScroll: true });
  open.value = null;
}

function moveFocus(by: number): void {
  const heads = [...document.querySelectorAll<HTMLElement>(".alert-head")];
  const at = heads.findIndex((h) => h.parentElement?.contains(document.activeElement) ?? false);
  const next = heads[at < 0 ? 0 : Math.min(heads.length - 1, Math.max(0, at + by))];
  next?.focus({ preventScroll: true });
  next?.scrollIntoView({ block: "nearest" });
}
