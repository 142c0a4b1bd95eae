import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { Panel } from "../components/basics.tsx";
import { Icon } from "../components/shapes.tsx";
import { ago, clock } from "../format/time.ts";
import { rateText, unknown } from "../format/traffic.ts";
import type { Store } from "../state/store.ts";
import { notTold, part, series, windowMs, type Measure, type Rates } from "../state/traffic.ts";
import { Chart } from "./chart.tsx";
import { TrafficTable } from "./traffic-table.tsx";

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

/** The series with their rates: of the last second, or of the time under the cursor. */
function Legend(props: { readonly store: Store; readonly measure: Measure; readonly cursor: number | null }): JSX.Element {
  const { store, measure, cursor } = props;
  void store.now.value; // renders with the clock
  const end = store.serverNow();
  const rates =
    cursor === null
      ? store.rates(measure)
      : store.traffic.ratesAt(end - (1 - cursor) * windowMs, measure);
  return (
    <div class="legend">
      <span class="legend-time num">{store.paused.value ? clock(cursor === null ? end : end - (1 - cursor) * windowMs) : cursor === null ? "now" : ago((1 - cursor) * windowMs)}</span>
      {series.map((name, i) => (
        <LegendItem key={name} name={name} index={i} rate={rates === null ? null : part(rates, i, measure)} measure={measure} />
      ))}
      <NotTold rates={rates} measure={measure} />
    </div>
  );
}

/** Of the server's history less is known than of what the page has seen itself. */
function NotTold({ rates, measure }: { readonly rates: Rates | null; readonly measure: Measure }): JSX.Element | null {
  const left = rates === null ? null : notTold(rates, measure);
  return left === null ? null : <LegendItem name={left.name} index={series.length} rate={left.rate} measure={measure} />;
}

interface LegendItemProps {
  readonly name: string;
  readonly index: number;
  readonly rate: number | null;
  readonly measure: Measure;
}

function LegendItem({ name, index, rate, measure }: LegendItemProps): JSX.Element {
  return (
    <span class="legend-item">
      <span class={`swatch series-${index}`} aria-hidden="true" />
      {name} <span class="num">{rate === null ? unknown : rateText(rate, measure)}</span>
    </span>
  );
}
