import { useSignal, useSignalEffect } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useRef } from "preact/hooks";
import type { Alert } from "../api/schema.ts";
import { Empty, Panel, Skeleton } from "../components/basics.tsx";
import { SeverityShape } from "../components/shapes.tsx";
import { count } from "../format/units.ts";
import { gravest, heldAt, splitHeld, type Held } from "../state/alerts.ts";
import type { View } from "../state/decisions.ts";
import { setSingleKeys, singleKeys } from "../state/keys.ts";
import { calm } from "../state/status.ts";
import type { Store } from "../state/store.ts";
import { AlertList, allHeads, focusHead, moveFocus } from "./alert-list.tsx";
import { ExceptionList } from "./exceptions.tsx";
import { ProblemNote } from "./problem.tsx";
import { useShortcuts } from "./shortcuts.ts";

const views: readonly { readonly view: View; readonly name: string }[] = [
  { view: "listed", name: "List" },
  { view: "hidden", name: "Hidden" },
  { view: "exceptions", name: "Exceptions" },
];

/** So near the end of the list, px, the older alerts are loaded. */
const nearEnd = 300;

export function AlertsPanel({ store }: { readonly store: Store }): JSX.Element {
  const open = store.openAlert;
  useTriageKeys(store);
  // Somebody may have opened it from elsewhere on the page: a screen away, it would not be seen.
  useSignalEffect(() => {
    void store.linked.value;
    const id = open.value;
    if (id === null) return;
    requestAnimationFrame(() => document.querySelector(`.alert[data-alert="${CSS.escape(id)}"]`)?.scrollIntoView({ block: "nearest" }));
  });
  return (
    <Panel id="alerts" title="Alerts" extra={<ViewSwitch store={store} />}>
      {store.decisions.view.value === "listed" ? <Listed store={store} /> : <Decided store={store} />}
      <div class="hidden" aria-live="polite">
        {store.announced.value}
      </div>
    </Panel>
  );
}

function ViewSwitch({ store }: { readonly store: Store }): JSX.Element {
  const show = (view: View): void => {
    store.closeAlert();
    store.decisions.show(view);
  };
  return (
    <>
      <span class="spring" />
      <div class="switch" role="group" aria-label="Which alerts">
        {views.map(({ view, name }) => (
          <button key={view} type="button" aria-pressed={store.decisions.view.value === view} onClick={() => show(view)}>
            {name}
          </button>
        ))}
      </div>
    </>
  );
}

/** The line above a list. It is there always, so that nothing moves when it has something to say. */
function Bar({ children }: { readonly children: ComponentChildren }): JSX.Element {
  return (
    <div class="alert-bar">
      {children}
      <span class="spring" />
      <label class="keys">
        <input type="checkbox" checked={singleKeys.value} onChange={(e) => setSingleKeys(e.currentTarget.checked)} />
        <span>
          Keys <kbd>j</kbd> <kbd>k</kbd> move, <kbd>p</kbd> pause
        </span>
      </label>
    </div>
  );
}

/** What people have decided: hidden alerts, or exceptions. */
function Decided({ store }: { readonly store: Store }): JSX.Element {
  const { view, hidden, moreHidden, problem } = store.decisions;
  return (
    <>
      <Bar>
        <ProblemNote problem={problem.value} onSignIn={() => void store.signIn()} />
        {problem.value !== null && (
          <button type="button" class="tool" onClick={() => void store.decisions.load()}>
            Try again
          </button>
        )}
      </Bar>
      <div class="scroll alert-scroll">
        {view.value === "exceptions" && <ExceptionList store={store} />}
        {view.value === "hidden" && hidden.value.length === 0 && <Empty title="Nothing is hidden" text="Exceptions hide what is normal here; it is kept all the same." />}
        {view.value === "hidden" && <AlertList key="hidden" alerts={hidden.value} store={store} label="Hidden alerts" />}
        {view.value === "hidden" && moreHidden.value && <LoadOlder load={() => store.decisions.loadOlderHidden()} />}
      </div>
    </>
  );
}

/**
 * The list. While somebody points at it or is in it with the keyboard, alerts that would move its rows wait, and are counted above it.
 */
function Listed({ store }: { readonly store: Store }): JSX.Element {
  const zone = useRef<HTMLDivElement>(null);
  const scroller = useRef<HTMLDivElement>(null);
  const held = useSignal<Held | null>(null);
  const seen = useRef(new Set<string>()); // by id
  const { shown, waiting } = splitHeld(store.alerts.value, held.value);
  for (const a of shown) seen.current.add(a.id);
  const hold = (by: boolean): void => {
    const inside = by || (zone.current?.contains(document.activeElement) ?? false);
    if (!inside) held.value = null;
    else if (held.value === null) held.value = heldAt(store.alerts.peek(), seen.current);
  };
  const showNew = (): void => {
    held.value = heldAt(store.alerts.peek(), seen.current);
    scroller.current?.scrollTo({ top: 0 });
    requestAnimationFrame(() => focusHead(allHeads()[0]));
  };
  return (
    <div
      ref={zone}
      class="alert-zone"
      onPointerEnter={() => hold(true)}
      onPointerLeave={() => hold(false)}
      onFocusIn={() => hold(true)}
      onFocusOut={() => queueMicrotask(() => hold(zone.current?.matches(":hover") ?? false))}
    >
      <Bar>{waiting.length > 0 ? <Waiting alerts={waiting} onShow={showNew} /> : <span class="panel-note num">{extent(store)}</span>}</Bar>
      <div ref={scroller} class="scroll alert-scroll" onScroll={(e) => loadNearEnd(e.currentTarget, store)}>
        <Linked store={store} shown={shown} />
        {shown.length === 0 && <NoAlerts store={store} />}
        <AlertList alerts={shown} store={store} label="Alerts" />
        <Older store={store} />
      </div>
    </div>
  );
}

/** How many alerts go on, and how many are loaded. */
function extent(store: Store): string {
  const alerts = store.alerts.value;
  if (alerts.length === 0) return "";
  const open = store.openAlerts.value?.size;
  const going = open === undefined ? "" : `${count(open)} open; `;
  return `${going}${store.olderAlerts.value === "end" ? `all ${count(alerts.length)} listed` : `latest ${count(alerts.length)} listed`}`;
}

function Waiting({ alerts, onShow }: { readonly alerts: readonly Alert[]; readonly onShow: () => void }): JSX.Element {
  const worst = gravest(alerts);
  return (
    <button type="button" class="waiting num" onClick={onShow}>
      {worst !== null && <SeverityShape severity={worst} />}
      {alerts.length === 1 ? "1 new alert" : `${count(alerts.length)} new alerts`}
      {worst !== null && <span class="hidden">, the gravest {worst}</span>}
    </button>
  );
}

function NoAlerts({ store }: { readonly store: Store }): JSX.Element | null {
  switch (store.alertsState.value.kind) {
    case "loading":
      return <Skeleton rows={5} />;
    case "ready":
      return <Empty {...calm(store.shown.value, store.freshness.value, store.heardAt, store.fleet.sensors.value.unjudged)} />;
    case "failed":
      return null;
  }
}

/** An alert that was asked for from elsewhere on the page and is older than the list, or why it is not there. */
function Linked({ store, shown }: { readonly store: Store; readonly shown: readonly Alert[] }): JSX.Element | null {
  const linked = store.linked.value;
  if (linked === null) return null;
  if (!("id" in linked)) {
    return (
      <p class="linked-problem">
        <ProblemNote problem={linked} onSignIn={() => void store.signIn()} />
      </p>
    );
  }
  if (shown.some((a) => a.id === linked.id)) return null;
  return (
    <section class="linked" aria-label="The alert of the connection">
      <p class="muted">Of the connection; {linked.triage === "hidden" ? "hidden from the list" : "not in the part of the list that is loaded"}</p>
      <AlertList key={linked.id} alerts={[linked]} store={store} label="Alert" />
    </section>
  );
}

/** The end of the list: what is below it, and how to get there. */
function Older({ store }: { readonly store: Store }): JSX.Element | null {
  const state = store.alertsState.value;
  const older = store.olderAlerts.value;
  if (state.kind === "failed") {
    return (
      <div class="notice tone-bad" role="status">
        <strong>Earlier alerts are missing</strong>
        <ProblemNote problem={state.problem} onSignIn={() => void store.signIn()} />
        <button type="button" onClick={() => store.retryAlerts()}>
          Try again
        </button>
      </div>
    );
  }
  if (older === "end") return null;
  return (
    <>
      {typeof older !== "string" && <ProblemNote problem={older} onSignIn={() => void store.signIn()} />}
      <LoadOlder load={() => store.loadOlder()} />
    </>
  );
}

/** Loads older alerts, and goes to the first of them. */
function LoadOlder({ load }: { readonly load: () => Promise<void> }): JSX.Element {
  const go = async (): Promise<void> => {
    const before = allHeads().length;
    await load();
    requestAnimationFrame(() => focusHead(allHeads()[before]));
  };
  return (
    <p class="older">
      <button type="button" class="tool" onClick={() => void go()}>
        Load older alerts
      </button>
    </p>
  );
}

/** Who has gone to the button by the tab key presses it, and does not lose it from under the focus. */
function loadNearEnd(e: HTMLElement, store: Store): void {
  if (document.activeElement?.closest(".older") != null) return;
  if (store.olderAlerts.peek() === "more" && e.scrollHeight - e.scrollTop - e.clientHeight < nearEnd) void store.loadOlder();
}

/** j and k move the focus through the alerts; Enter is the focused button's own. Escape closes. p holds the display, z takes back. */
function useTriageKeys(store: Store): void {
  useShortcuts({
    j: () => moveFocus(1),
    k: () => moveFocus(-1),
    p: () => store.setPaused(!store.paused.peek()),
    z: () => void store.decisions.done.peek()?.undo?.(),
    Escape: () => closeOpen(store),
  });
}

/** Closes the open alert. The focus goes to its head, not to the top of the page. */
function closeOpen(store: Store): void {
  if (store.openAlert.value === null) return;
  const item = document.querySelector(".alert.expanded");
  if (item?.contains(document.activeElement) === true) item.querySelector<HTMLElement>(".alert-head")?.focus({ preventScroll: true });
  store.closeAlert();
}
