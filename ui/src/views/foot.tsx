import type { JSX } from "preact";
import type { Stats } from "../api/schema.ts";
import { words } from "../format/names.ts";
import { duration } from "../format/time.ts";
import { bytes, count, shortCount } from "../format/units.ts";
import type { Store } from "../state/store.ts";
import { dropReason } from "../format/names.ts";

/** The program's own condition: latency, what each stage has lost, memory. */
export function Foot({ store }: { readonly store: Store }): JSX.Element {
  const stats = store.stats.value;
  return (
    <footer class="foot num">
      {stats !== null && (
        <>
          <Losses stats={stats} />
          {(stats.latency_ms ?? []).map((l) => (
            <span key={l.stage} title={`Time from a packet's stamp until it is ${words(l.stage)}, last minute: median and 99th percentile`}>
              {words(l.stage)} {l.p50.toFixed(1)}
              {"\u2009/\u2009"}
              {l.p99.toFixed(1)} ms
            </span>
          ))}
          <span title="Packets that could not be decoded">malformed {shortCount(sum(stats.malformed))}</span>
          <span>memory {bytes(stats.memory_bytes)}</span>
          <span class="spring" />
          <span>sensor {stats.sensor}</span>
          <span>up {duration(stats.uptime_seconds)}</span>
        </>
      )}
      <span>{store.version.value !== "" && `NetLyra ${store.version.value}`}</span>
    </footer>
  );
}

function Losses({ stats }: { readonly stats: Stats }): JSX.Element {
  return (
    <span class="losses">
      <span class="losses-title">lost</span>
      {stats.drops.map((d) => (
        <span key={`${d.stage} ${d.reason}`} class={d.count > 0 ? "loss" : "no-loss"} title={dropReason(d.reason)}>
          {d.count > 0 && <span class="dot shape-warn" aria-hidden="true" />}
          {words(d.stage)} {d.count > 0 ? `${count(d.count)} (${dropReason(d.reason)})` : "0"}
        </span>
      ))}
    </span>
  );
}

function sum(counts: Stats["malformed"]): number {
  return Object.values(counts ?? {}).reduce((a, b) => a + b, 0);
}
