import { useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import { Age, Empty, FromPacket, Panel, Skeleton } from "../components/basics.tsx";
import { endpoint, printable, words } from "../format/names.ts";
import { absolute } from "../format/time.ts";
import { bitsPerSecond, bytes, count, niceScale, short, shortCount, text } from "../format/units.ts";
import type { Connection, SortKey } from "../state/connections.ts";
import { silence } from "../state/status.ts";
import type { Rows, Store } from "../state/store.ts";
import { moveRow, rowHeight, useViewport } from "./viewport.ts";

/** Rows drawn beyond the edges. */
const overscan = 6;

interface ColumnSpec {
  readonly title: string;
  readonly sort?: SortKey;
  readonly numeric?: boolean;
}

const columns: readonly ColumnSpec[] = [
  { title: "Source" },
  { title: "Destination" },
  { title: "Proto" },
  { title: "State", sort: "state" },
  { title: "Server name", sort: "name" },
  { title: "Rate", sort: "rate", numeric: true },
  { title: "Bytes", sort: "bytes", numeric: true },
  { title: "Packets", sort: "packets", numeric: true },
  { title: "Last", sort: "last", numeric: true },
];

/** Where there are several sensors, each row says which one sees it. */
function columnsOf(named: boolean): readonly ColumnSpec[] {
  return named ? [{ title: "Sensor" }, ...columns] : columns;
}

/** A full bar stands for this much at least, in bit/s: what is next to nothing looks like it. */
const leastScale = 100_000;

export function ConnectionsPanel({ store }: { readonly store: Store }): JSX.Element {
  const { rows } = store.rows.value;
  const held = useSignal(false);
  const read = useSignal<Connection | null>(null); // the row that somebody reads
  const scale = barScale(rows);
  return (
    <Panel
      id="connections"
      title="Top connections"
      extra={
        <>
          <span class="panel-note num" id="connections-extent">{extent(store.rows.value)}</span>
          <span class="panel-note num">{rows.length > 0 && `bars to ${text(short(bitsPerSecond(scale)))}`}</span>
          <span class="spring" />
          <span class="held num" role="status">
            {held.value && rows.length > 0 ? "order held" : ""}
          </span>
        </>
      }
    >
      <Grid store={store} rows={rows} held={held} read={read} scale={scale} />
      <Facts of={read.value} named={store.isFleet.value} />
    </Panel>
  );
}

/** How many of the open connections are listed. */
function extent({ rows, active, partial }: Rows): string {
  const listed = rows.reduce((n, c) => n + (c.gone ? 0 : 1), 0);
  if (rows.length === 0) return "";
  const ended = rows.length - listed;
  if (listed === active) return ended === 0 ? `${count(active)} open` : `${count(active)} open, ${count(ended)} ended just now`;
  // Of very many at once, the server does not tell of each that it has ended.
  if (listed > active) return `${count(listed)} listed, ${count(active)} open`;
  return `${count(listed)} of ${count(active)} open${partial ? ", those that moved last" : ""}`;
}

/** The rate of a full bar, in bytes/s. */
function barScale(rows: readonly Connection[]): number {
  const most = rows.reduce((m, c) => Math.max(m, c.rate), 0);
  return niceScale(Math.max(most * 8, leastScale)).top / 8;
}

interface GridProps {
  readonly store: Store;
  readonly rows: readonly Connection[];
  readonly held: Signal<boolean>;
  readonly read: Signal<Connection | null>;
  readonly scale: number;
}

function Grid({ store, rows, held, read, scale }: GridProps): JSX.Element {
  const scroller = useRef<HTMLDivElement>(null);
  const view = useViewport(scroller);
  const active = useSignal(0); // the row that the keyboard is on
  const named = store.isFleet.value && store.chosen.value === "";
  const first = Math.max(0, Math.floor(view.value.top / rowHeight) - overscan);
  const last = Math.min(rows.length, Math.ceil((view.value.top + view.value.height) / rowHeight) + overscan);
  const hold = (by: boolean): void => {
    const inside = scroller.current?.contains(document.activeElement) ?? false;
    held.value = by || inside;
    store.setHeld(held.value);
    if (!held.value) read.value = null;
  };
  return (
    <div class={named ? "conn-grid named" : "conn-grid"} role="grid" aria-label="Connections" aria-describedby="connections-extent" aria-rowcount={rows.length + 1} aria-colcount={columnsOf(named).length}>
      <HeadRow store={store} named={named} />
      <div
        ref={scroller}
        class="scroll conn-scroll"
        role="rowgroup"
        onPointerEnter={() => hold(true)}
        onPointerLeave={() => hold(false)}
        onFocusIn={() => hold(true)}
        onFocusOut={() => queueMicrotask(() => hold(scroller.current?.matches(":hover") ?? false))}
        onKeyDown={(e) => moveRow(e, active, rows.length, scroller.current)}
      >
        <div class="conn-space" role="presentation" style={{ height: `${rows.length * rowHeight}px` }}>
          {rows.slice(first, last).map((c, i) => (
            <Row key={c.id} conn={c} index={first + i} scale={scale} now={store.captureNow()} named={named} focusable={active.value === first + i} onRead={() => (read.value = c)} onAlert={(id) => void store.showAlert(id)} />
          ))}
        </div>
        {rows.length === 0 && (
          <div role="row">
            <div role="gridcell" aria-colspan={columnsOf(named).length}>
              <NoRows store={store} />
            </div>
          </div>
        )}
      </div>
    </div>
  );
}

/** All of the row that somebody points at or is on: a row has no room for it. */
function Facts({ of: c, named }: { readonly of: Connection | null; readonly named: boolean }): JSX.Element {
  return (
    <p class="conn-facts num" id="connection-facts">
      {c === null ? (
        <span class="muted">Point at a row, or go to it by the arrow keys: all about it is written here.</span>
      ) : (
        <>
          <FromPacket text={endpoint(c.srcIP, c.srcPort)} /> → <FromPacket text={endpoint(c.dstIP, c.dstPort)} /> {printable(c.proto)}
          {c.sni !== "" && <> <FromPacket text={c.sni} /></>}; {bytes(c.bytesUp)} up, {bytes(c.bytesDown)} down, {count(c.packets)} packets; from {absolute(c.first)} to{" "}
          {absolute(c.last)}
          {named && <>; seen by <FromPacket text={c.sensor} /></>}
        </>
      )}
    </p>
  );
}

function NoRows({ store }: { readonly store: Store }): JSX.Element {
  const stats = store.shown.value;
  if (stats === null) return <Skeleton rows={8} />;
  const why = silence(stats, store.captureNow());
  return <Empty title="No open connections" text={why === "" ? "None of those seen is open at present." : why} />;
}

function HeadRow({ store, named }: { readonly store: Store; readonly named: boolean }): JSX.Element {
  const { key, descending } = store.sort.value;
  return (
    <div class="conn-row conn-head" role="row" aria-rowindex={1}>
      {columnsOf(named).map((c) => {
        const sorted = c.sort === key ? (descending ? "descending" : "ascending") : undefined;
        return (
          <div key={c.title} role="columnheader" class={c.numeric === true ? "numeric" : ""} aria-sort={sorted}>
            {c.sort === undefined ? (
              c.title
            ) : (
              <button type="button" onClick={() => c.sort !== undefined && store.sortBy(c.sort)}>
                {c.title}
                <span class="sort-mark" aria-hidden="true">
                  {sorted === undefined ? "" : descending ? "↓" : "↑"}
                </span>
              </button>
            )}
          </div>
        );
      })}
    </div>
  );
}

interface RowProps {
  readonly conn: Connection;
  readonly index: number;
  readonly scale: number;
  readonly now: number;
  /** The row says which sensor sees it. */
  readonly named: boolean;
  readonly focusable: boolean;
  readonly onRead: () => void;
  readonly onAlert: (id: string) => void;
}

function Row({ conn: c, index, scale, now, named, focusable, onRead, onAlert }: RowProps): JSX.Element {
  return (
    <div
      class={`conn-row ${c.gone ? "gone" : ""} ${index % 2 === 1 ? "odd" : ""}`}
      role="row"
      aria-rowindex={index + 2}
      data-row={index}
      tabIndex={focusable ? 0 : -1}
      aria-describedby={focusable ? "connection-facts" : undefined}
      onPointerEnter={onRead}
      onFocusIn={onRead}
      style={{ transform: `translateY(${index * rowHeight}px)` }}
    >
      {named && (
        <div role="gridcell" class="seen-by">
          <FromPacket text={c.sensor} />
        </div>
      )}
      <div role="gridcell" class={c.alert === "" ? "address" : "address alerted"}>
        {c.alert !== "" && (
          <button type="button" class="row-alert" tabIndex={focusable ? 0 : -1} onClick={() => onAlert(c.alert)}>
            <span class="dot shape-warn" aria-hidden="true" />
            <span class="hidden">Open its alert</span>
          </button>
        )}
        <FromPacket text={endpoint(c.srcIP, c.srcPort)} />
      </div>
      <div role="gridcell" class="address">
        <FromPacket text={endpoint(c.dstIP, c.dstPort)} />
      </div>
      <div role="gridcell">{printable(c.proto)}</div>
      <div role="gridcell" class={`conn-state state-${c.state}`}>
        {c.gone ? "ended" : words(c.state)}
      </div>
      <div role="gridcell" class="sni">
        <FromPacket text={c.sni} />
      </div>
      <div role="gridcell" class="numeric num rate">
        <span class="rate-bar" style={{ width: `${Math.round((c.rate / scale) * 100)}%` }} aria-hidden="true" />
        <span>{c.rate > 0 ? text(bitsPerSecond(c.rate)) : "–"}</span>
      </div>
      <div role="gridcell" class="numeric num">
        {bytes(c.bytesUp + c.bytesDown)}
      </div>
      <div role="gridcell" class="numeric num">
        {shortCount(c.packets)}
      </div>
      <div role="gridcell" class="numeric">
        <Age at={c.last} now={now} />
      </div>
    </div>
  );
}
