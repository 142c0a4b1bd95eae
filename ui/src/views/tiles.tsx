import type { ComponentChildren, JSX } from "preact";
import type { Severity, Stats } from "../api/schema.ts";
import { Amount } from "../components/basics.tsx";
import { SeverityShape } from "../components/shapes.tsx";
import { ago } from "../format/time.ts";
import { bitsPerSecond, bytes, count, packetsPerSecond, percent, shortCount, text } from "../format/units.ts";
import { severities, tally } from "../state/alerts.ts";
import { allEnded, learnedParts, losses, lossesByStage } from "../state/status.ts";
import type { Store } from "../state/store.ts";
import { total, type Measure } from "../state/traffic.ts";

/** The state of things in six numbers. */
export function Tiles({ store }: { readonly store: Store }): JSX.Element {
  const stats = store.shown.value;
  return (
    <section class="tiles" aria-label="Now">
      {stats === null ? <Placeholders /> : <Numbers stats={stats} store={store} />}
    </section>
  );
}

function Placeholders(): JSX.Element {
  return (
    <>
      {["Traffic", "Packets", "Connections", "Open alerts", "Lost packets", "Detector"].map((t) => (
        <Tile key={t} label={t} note={"\u00a0"}>
          <span class="ghost">–</span>
        </Tile>
      ))}
    </>
  );
}

function Numbers({ stats, store }: { readonly stats: Stats; readonly store: Store }): JSX.Element {
  const peak = store.traffic.peak(store.serverNow(), "bytes");
  const c = stats.connections;
  // After the end of a file there is no rate.
  const ended = allEnded(stats);
  const perSecond = (measure: Measure): number => {
    const rates = ended ? null : store.rates(measure);
    return rates === null ? Number.NaN : total(rates);
  };
  return (
    <>
      <Tile label="Traffic" note={peak.rate > 0 ? `peak ${text(bitsPerSecond(peak.rate))}, ${ago(store.serverNow() - peak.at)}` : "none in the last minute"}>
        <Amount of={bitsPerSecond(perSecond("bytes"))} />
      </Tile>
      <Tile label="Packets" note={`${shortCount(stats.packets)} in all, ${bytes(stats.bytes)}`}>
        <Amount of={packetsPerSecond(perSecond("packets"))} />
      </Tile>
      <Tile label="Connections" note={store.isFleet.value ? `${shortCount(c.opened)} opened` : `${shortCount(c.opened)} opened, ${shortCount(c.expired)} ended`}>
        <span class="amount num">{count(c.active)}</span>
      </Tile>
      <OpenAlerts alerts={store.openAlerts.value} />
      <Lost stats={stats} />
      <Detector stats={stats} />
    </>
  );
}

function Tile(props: {
  readonly label: string;
  readonly note: ComponentChildren;
  readonly tone?: string;
  readonly children: ComponentChildren;
}): JSX.Element {
  return (
    <div class={`tile ${props.tone === undefined ? "" : `tone-${props.tone}`}`}>
      <h2>{props.label}</h2>
      <div class="tile-value">{props.children}</div>
      <div class="tile-note num">{props.note}</div>
    </div>
  );
}

/** The alerts of the server's list that go on, loaded here or not. */
function OpenAlerts({ alerts }: { readonly alerts: ReadonlyMap<string, Severity> | null }): JSX.Element {
  const open = tally(alerts?.values() ?? []);
  const known = severities.filter((s) => open.has(s));
  return (
    <Tile
      label="Open alerts"
      note={
        known.length === 0
          ? alerts === null ? "\u00a0" : "none goes on"
          : known.map((s) => (
              <span key={s} class="tally">
                <SeverityShape severity={s} /> {open.get(s)} {s}
              </span>
            ))
      }
    >
      <span class="amount num">{count(alerts?.size ?? Number.NaN)}</span>
    </Tile>
  );
}

/** Losses are what a watcher must never hide: with stage and reason. */
function Lost({ stats }: { readonly stats: Stats }): JSX.Element {
  const all = losses(stats);
  const sum = all.reduce((n, l) => n + l.count, 0);
  const [first] = all;
  const stages = lossesByStage(stats).size;
  if (first === undefined) {
    return (
      <Tile label="Lost packets" note={`${stages} ${stages === 1 ? "stage" : "stages"} watched`}>
        <span class="amount num">0</span>
      </Tile>
    );
  }
  return (
    <Tile label="Lost packets" tone="warn" note={`${first.where}: ${first.why}${all.length > 1 ? `, ${all.length - 1} more` : ""}`}>
      <span class="amount num">
        <span class="dot shape-warn" aria-hidden="true" /> {shortCount(sum)}
      </span>
    </Tile>
  );
}

function Detector({ stats }: { readonly stats: Stats }): JSX.Element {
  const d = stats.detector;
  if (d.name === "") {
    return (
      <Tile label="Detector" note="nothing is judged">
        <span class="amount">off</span>
      </Tile>
    );
  }
  return (
    <Tile label="Detector" note={learnedParts(d) || d.name}>
      <span class="amount num">{percent(d.learning)}</span> <span class="tile-aside">learned</span>
      <span class="meter" aria-hidden="true">
        <span style={{ width: `${Math.round(d.learning * 100)}%` }} />
      </span>
    </Tile>
  );
}
