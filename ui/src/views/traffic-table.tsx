import type { JSX } from "preact";
import { clock } from "../format/time.ts";
import { rateText, unknown } from "../format/traffic.ts";
import type { Store } from "../state/store.ts";
import { binMs, part, series, total, windowMs, type Measure } from "../state/traffic.ts";

const rowMs = 5_000;

/** The chart as numbers: means of five seconds. */
export function TrafficTable({ store, measure }: { readonly store: Store; readonly measure: Measure }): JSX.Element {
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
                  <td key={s}>{text(rates === null ? null : part(rates, i, measure), measure)}</td>
                ))}
                <td>{text(rates === null ? null : total(rates), measure)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function text(rate: number | null, measure: Measure): string {
  return rate === null ? unknown : rateText(rate, measure);
}
