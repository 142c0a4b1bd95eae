import type { JSX } from "preact";
import type { Stats } from "../api/schema.ts";
import { dropReason, words } from "../format/names.ts";
import { duration } from "../format/time.ts";
import { bytes, count, shortCount } from "../format/units.ts";
import { bounds, effectText, learnedParts, lossesByStage } from "../state/status.ts";
import type { Store } from "../state/store.ts";

/** The program's own condition: latency, what each stage has lost, memory. */
export function Foot({ store }: { readonly store: Store }): JSX.Element {
  const stats = store.stats.value;
  return (
    <footer class="foot num">
      {stats !== null && (
        <>
          <Losses stats={stats} />
          <Bounds stats={stats} />
          <Latency stats={stats} />
          <Learned stats={stats} />
          <span>malformed packets {shortCount(sum(stats.malformed))}</span>
          <span>memory {bytes(stats.memory_bytes)}</span>
          <span class="spring" />
          {!store.isFleet.value && <span>sensor {stats.sensor}</span>}
          <span>up {duration(stats.uptime_seconds)}</span>
        </>
      )}
      <span>{store.version.value !== "" && `NetLyra ${store.version.value}`}</span>
    </footer>
  );
}

/** The time from a packet's stamp to a stage, of the last minute. */
function Latency({ stats }: { readonly stats: Stats }): JSX.Element | null {
  const all = stats.latency_ms ?? [];
  if (all.length === 0) return null;
  return (
    <span class="losses">
      <span class="losses-title">from a packet, median / 99 % of the last minute</span>
      {all.map((l) => (
        <span key={l.stage}>
          {words(l.stage)} {l.p50.toFixed(1)}
          {"\u2009/\u2009"}
          {l.p99.toFixed(1)} ms
        </span>
      ))}
    </span>
  );
}

/** How far each part of the detector has learned. The tile has room for the first of them only. */
function Learned({ stats }: { readonly stats: Stats }): JSX.Element | null {
  const parts = learnedParts(stats.detector);
  if (parts === "") return null;
  return (
    <span class="losses">
      <span class="losses-title">learned</span>
      {parts}
    </span>
  );
}

/** Every stage from kernel to page, those without losses too: that nothing is lost is something to know. */
function Losses({ stats }: { readonly stats: Stats }): JSX.Element {
  return (
    <span class="losses">
      <span class="losses-title">packets lost</span>
      {[...lossesByStage(stats)].map(([stage, reasons]) =>
        reasons.length === 0 ? (
          <span key={stage}>{words(stage)} 0</span>
        ) : (
          <span key={stage} class="loss">
            <span class="dot shape-warn" aria-hidden="true" /> {words(stage)}{" "}
            {reasons.map((r) => `${count(r.count)} (${dropReason(r.reason)})`).join(", ")}
          </span>
        ),
      )}
    </span>
  );
}

/** Bounds of lists, queues and pages that were reached. No packet is lost by them. */
function Bounds({ stats }: { readonly stats: Stats }): JSX.Element | null {
  const all = bounds(stats);
  if (all.length === 0) return null;
  return (
    <span class="losses">
      <span class="losses-title">bounds reached</span>
      {all.map((d) => (
        <span key={`${d.stage} ${d.reason}`}>
          {words(d.stage)} {effectText(d)} ({dropReason(d.reason)})
        </span>
      ))}
    </span>
  );
}

function sum(counts: Stats["malformed"]): number {
  return Object.values(counts ?? {}).reduce((a, b) => a + b, 0);
}
