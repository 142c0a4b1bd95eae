import { useSignal, useSignalEffect, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Strip, type Scale, type StripColors } from "../components/strip.ts";
import { ago, clock } from "../format/time.ts";
import { rate, rateText } from "../format/traffic.ts";
import { percent, short, text } from "../format/units.ts";
import { silence } from "../state/status.ts";
import type { Store } from "../state/store.ts";
import { theme } from "../state/theme.ts";
import { notTold, part, series, total, windowMs, type Measure } from "../state/traffic.ts";
import { AlertMarks } from "./marks.tsx";

/** The strip of the last minute, with its axes, its cursor and its words. */
export function Chart(props: { readonly store: Store; readonly measure: Signal<Measure>; readonly cursor: Signal<number | null> }): JSX.Element {
  const { store, measure, cursor } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const scale = useSignal<Scale>({ top: 125, steps: 5 });
  useStrip(store, canvas, measure, (s) => (scale.value = s));
  const quiet = silence(store.shown.value, store.captureNow());
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
        <span class="time-now">{store.paused.value ? clock(store.serverNow()) : "now"}</span>
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
      {store.traffic.hasHistory ? "nothing was watched" : "before this page was opened"}
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
  return { series: [0, 1, 2, 3, 4].map((i) => color(`--series-${i}`)), gap: color("--gap"), gapLine: color("--gap-line"), before: color("--before") };
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
  const share = (n: number): string => percent(all > 0 ? n / all : 0);
  const left = notTold(rates, measure);
  const shares = [
    ...series.map((name, i) => [name, part(rates, i, measure)] as const).flatMap(([name, n]) => (n === null ? [] : [`${name} ${share(n)}`])),
    ...(left === null ? [] : [`${left.name} ${share(left.rate)}`]),
  ];
  return (
    `Traffic of the last 60 seconds: mean ${rateText(all, measure)}, peak ${rateText(peak.rate, measure)} ` +
    `${ago(end - peak.at)}; ${shares.join(", ")}. Arrow keys read values.`
  );
}
