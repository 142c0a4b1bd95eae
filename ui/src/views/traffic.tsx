import { useSignal, useSignalEffect, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Panel } from "../components/basics.tsx";
import { Icon } from "../components/shapes.tsx";
import { Strip, type Scale, type StripColors } from "../components/strip.ts";
import { ago, clock } from "../format/time.ts";
import { bitsPerSecond, packetsPerSecond, percent, short, text, type Quantity } from "../format/units.ts";
import type { Store } from "../state/store.ts";
import { silence } from "../state/status.ts";
import { theme } from "../state/theme.ts";
import { binMs, series, total, windowMs, type Measure } from "../state/traffic.ts";
import { AlertMarks } from "./marks.tsx";

/** Stands where nothing is known. */
const unknown = "–";

export function TrafficPanel({ store }: { readonly store: Store }): JSX.Element {
  const measure = useSignal<Measure>("bytes");
  const asTable = useSignal(false);
  const cursor = useSignal<number | null>(null); // share of the width, from the left
  return (
    <Panel
      id="traffic"
      title="Traffic, 60 s"
      extra={
        <>
          <Legend store={store} measure={measure.value} cursor={cursor.value} />
          <div class="switch" role="group" aria-label="Unit">
            <button type="button" aria-pressed={measure.value === "bytes"} onClick={() => (measure.value = "bytes")}>
              bit/s
            </button>
            <button type="button" aria-pressed={measure.value === "packets"} onClick={() => (measure.value = "packets")}>
              packets/s
            </button>
          </div>
          <button type="button" class="tool" aria-pressed={asTable.value} onClick={() => (asTable.value = !asTable.value)}>
            <Icon name={asTable.value ? "chart" : "table"} />
            <span class="hidden">{asTable.value ? "View as chart" : "View as table"}</span>
          </button>
        </>
      }
    >
      {asTable.value ? (
        <TrafficTable store={store} measure={measure.value} />
      ) : (
        <Chart store={store} measure={measure} cursor={cursor} />
      )}
    </Panel>
  );
}

function rate(perSecond: number, measure: Measure): Quantity {
  return measure === "bytes" ? bitsPerSecond(perSecond) : packetsPerSecond(perSecond);
}

function rateText(perSecond: number, measure: Measure): string {
  return text(rate(perSecond, measure));
}

/** The series with their rates: of the last second, or of the time under the cursor. */
function Legend(props: { readonly store: Store; readonly measure: Measure; readonly cursor: number | null }): JSX.Element {
  const { store, measure, cursor } = props;
  void store.now.value; // renders with the clock
  const end = store.serverNow();
  const rates =
    cursor === null
      ? store.traffic.mean(end - 1000, end, measure)
      : store.traffic.ratesAt(end - (1 - cursor) * windowMs, measure);
  return (
    <div class="legend">
      <span class="legend-time num">{cursor === null ? "now" : ago((1 - cursor) * windowMs)}</span>
      {series.map((name, i) => (
        <span key={name} class="legend-item">
          <span class={`swatch series-${i}`} aria-hidden="true" />
          {name} <span class="num">{rates === null ? unknown : rateText(rates[i as 0 | 1 | 2 | 3], measure)}</span>
        </span>
      ))}
    </div>
  );
}

function Chart(props: { readonly store: Store; readonly measure: Signal<Measure>; readonly cursor: Signal<number | null> }): JSX.Element {
  const { store, measure, cursor } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const scale = useSignal<Scale>({ top: 125, steps: 5 });
  useStrip(store, canvas, measure, (s) => (scale.value = s));
  const quiet = silence(store.stats.value, store.serverNow());
  return (
    <div class="plot">
      <Grid scale={scale.value} measure={measure.value} />
      <div class="plot-area">
        <canvas
          ref={canvas}
          role="img"
          tabIndex={0}
          aria-label={describe(store, measure.value)}
          onPointerMove={(e) => (cursor.value = e.offsetX / e.currentTarget.clientWidth)}
          onPointerLeave={() => (cursor.value = null)}
          onBlur={() => (cursor.value = null)}
          onKeyDown={(e) => moveCursor(e, cursor)}
        />
        <AlertMarks store={store} />
        {cursor.value !== null && <span class="cursor" style={{ left: `${cursor.value * 100}%` }} />}
        {quiet !== "" && <p class="plot-note">{quiet}</p>}
        <Before store={store} />
      </div>
      <div class="time-axis num" aria-hidden="true">
        {[60, 45, 30, 15].map((s) => (
          <span key={s} style={{ left: `${100 - (s / 60) * 100}%` }}>
            −{s} s
          </span>
        ))}
        <span class="time-now">now</span>
      </div>
    </div>
  );
}

/** What the hatching on the left is, while there is room to say it. */
function Before({ store }: { readonly store: Store }): JSX.Element | null {
  const share = 1 - (store.serverNow() - store.traffic.firstAt) / windowMs;
  if (!(share > 0.3)) return null;
  return (
    <p class="plot-before" style={{ width: `${share * 100}%` }}>
      before this page was opened
    </p>
  );
}

/** Draws while the page is seen and the display runs. */
function useStrip(
  store: Store,
  canvas: { readonly current: HTMLCanvasElement | null },
  measure: Signal<Measure>,
  onScale: (s: Scale) => void,
): void {
  const strip = useRef<Strip | null>(null);
  useEffect(() => {
    const element = canvas.current;
    if (element === null) return;
    const s = new Strip(element, store.traffic, onScale);
    strip.current = s;
    s.setColors(readColors(element));
    s.setMeasure(measure.value);
    const observer = new ResizeObserver(() => {
      s.resize(Math.round(element.clientWidth * devicePixelRatio), Math.round(element.clientHeight * devicePixelRatio));
    });
    observer.observe(element);
    const slow = matchMedia("(prefers-reduced-motion: reduce)");
    let last = 0;
    let frame = requestAnimationFrame(function draw(time) {
      frame = requestAnimationFrame(draw);
      if (store.paused.value || (slow.matches && time - last < 1000)) return;
      last = time;
      s.draw(store.serverNow());
    });
    return () => {
      cancelAnimationFrame(frame);
      observer.disconnect();
    };
  }, []);
  useSignalEffect(() => strip.current?.setMeasure(measure.value));
  useSignalEffect(() => {
    void theme.value;
    if (canvas.current !== null) strip.current?.setColors(readColors(canvas.current));
  });
}

function readColors(element: Element): StripColors {
  const style = getComputedStyle(element);
  const color = (name: string): string => style.getPropertyValue(name).trim();
  return { series: series.map((_, i) => color(`--series-${i}`)), gap: color("--gap"), gapLine: color("--gap-line"), before: color("--before") };
}

function moveCursor(e: KeyboardEvent, cursor: Signal<number | null>): void {
  const step = (e.shiftKey ? 5000 : 1000) / windowMs;
  switch (e.key) {
    case "ArrowLeft":
      cursor.value = Math.max(0, (cursor.value ?? 1) - step);
      break;
    case "ArrowRight":
      cursor.value = Math.min(1, (cursor.value ?? 1) + step);
      break;
    case "Escape":
      cursor.value = null;
      break;
    default:
      return;
  }
  e.preventDefault();
}

function Grid({ scale, measure }: { readonly scale: Scale; readonly measure: Measure }): JSX.Element {
  const lines = Array.from({ length: scale.steps + 1 }, (_, i) => i / scale.steps);
  return (
    <div class="grid-lines num" aria-hidden="true">
      {lines.map((share) => (
        <span key={share} class="grid-line" style={{ bottom: `${share * 100}%` }}>
          <span>{share === 0 ? "0" : text(short(rate(share * scale.top, measure)))}</span>
        </span>
      ))}
    </div>
  );
}

/** The chart in words. */
function describe(store: Store, measure: Measure): string {
  const end = Math.floor(store.serverNow() / 5000) * 5000; // words every 5 s are enough
  const rates = store.traffic.mean(end - windowMs, end, measure);
  if (rates === null) return "Traffic of the last 60 seconds: nothing is known yet.";
  const peak = store.traffic.peak(end, measure);
  const all = total(rates);
  const shares = series.map((name, i) => `${name} ${percent(all > 0 ? rates[i as 0 | 1 | 2 | 3] / all : 0)}`);
  return (
    `Traffic of the last 60 seconds: mean ${rateText(all, measure)}, peak ${rateText(peak.rate, measure)} ` +
    `${ago(end - peak.at)}; ${shares.join(", ")}. Arrow keys read values.`
  );
}

const rowMs = 5_000;

/** The chart as numbers: means of five seconds. */
function TrafficTable({ store, measure }: { readonly store: Store; readonly measure: Measure }): JSX.Element {
  void store.rows.value.version; // renders once a second
  const end = Math.floor(store.serverNow() / rowMs) * rowMs;
  const starts = Array.from({ length: windowMs / rowMs }, (_, i) => end - (i + 1) * rowMs);
  return (
    <div class="traffic-table" role="region" aria-label="Traffic as a table" tabIndex={0}>
      <table>
        <caption class="hidden">Traffic of the last 60 seconds, means of {rowMs / 1000} seconds</caption>
        <thead>
          <tr>
            <th scope="col">From</th>
            {series.map((s) => (
              <th key={s} scope="col">
                {s}
              </th>
            ))}
            <th scope="col">All</th>
          </tr>
        </thead>
        <tbody class="num">
          {starts.map((from) => {
            const rates = store.traffic.mean(from, from + rowMs - binMs / 2, measure);
            return (
              <tr key={from}>
                <th scope="row">{clock(from)}</th>
                {series.map((s, i) => (
                  <td key={s}>{rates === null ? unknown : rateText(rates[i as 0 | 1 | 2 | 3], measure)}</td>
                ))}
                <td>{rates === null ? unknown : rateText(total(rates), measure)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
