import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { Panel } from "../components/basics.tsx";
import { Icon } from "../components/shapes.tsx";
import { ago, clock } from "../format/time.ts";
import { rateText, unknown } from "../format/traffic.ts";
import type { Store } from "../state/store.ts";
import { series, windowMs, type Measure } from "../state/traffic.ts";
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
        <span key={name} class="legend-item">
          <span class={`swatch series-${i}`} aria-hidden="true" />
          {name} <span class="num">{rates === null ? unknown : rateText(rates[i as 0 | 1 | 2 | 3], measure)}</span>
        </span>
      ))}
    </div>
  );
}
