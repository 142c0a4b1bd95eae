import type { JSX } from "preact";
import type { Stats } from "../api/schema.ts";
import { Icon, Mark } from "../components/shapes.tsx";
import { age } from "../format/time.ts";
import type { Freshness, Tone } from "../state/status.ts";
import type { Store } from "../state/store.ts";
import { chooseTheme, theme } from "../state/theme.ts";

export function Header({ store }: { readonly store: Store }): JSX.Element {
  const paused = store.paused.value;
  const dark = theme.value === "dark";
  return (
    <header class="top">
      <h1>
        <Mark /> NetLyra
      </h1>
      <Sources stats={store.stats.value} />
      <span class="spring" />
      <LinkChip freshness={store.freshness.value} paused={paused} />
      <button type="button" class="tool" aria-pressed={paused} title="Hold the display (p)" onClick={() => store.setPaused(!paused)}>
        <Icon name={paused ? "play" : "pause"} />
        <span>{paused ? "Resume" : "Pause"}</span>
      </button>
      <button type="button" class="tool" title="Change between dark and light" onClick={() => chooseTheme(dark ? "light" : "dark")}>
        <Icon name={dark ? "sun" : "moon"} />
        <span class="hidden">{dark ? "Light colours" : "Dark colours"}</span>
      </button>
    </header>
  );
}

const linkTexts: Readonly<Record<string, readonly [Tone, string]>> = {
  up: ["good", "up"],
  down: ["bad", "down"],
  gone: ["bad", "gone"],
  file: ["good", "replay"],
  ended: ["info", "ended"],
};

/** Where the packets come from, and whether they can. */
function Sources({ stats }: { readonly stats: Stats | null }): JSX.Element | null {
  if (stats === null) return null;
  return (
    <ul class="sources" aria-label="Sources">
      {(stats.interfaces ?? []).map((i) => {
        const [tone, text] = linkTexts[i.link] ?? (["info", i.link] as const);
        return (
          <li key={i.name} class={`chip tone-${tone}`}>
            <span class={`dot shape-${tone}`} aria-hidden="true" />
            {i.name} <span class="chip-note">{text}</span>
          </li>
        );
      })}
    </ul>
  );
}

function LinkChip({ freshness, paused }: { readonly freshness: Freshness; readonly paused: boolean }): JSX.Element {
  const [tone, text] = linkState(freshness, paused);
  return (
    <span class={`chip link tone-${tone}`} role="status">
      <span class={`dot shape-${tone}`} aria-hidden="true" />
      {text}
    </span>
  );
}

function linkState(f: Freshness, paused: boolean): [Tone, string] {
  switch (f.kind) {
    case "connecting":
      return ["info", "connecting"];
    case "live":
      return paused ? ["info", "paused"] : ["good", "live"];
    case "stale":
      return ["warn", `stale ${age(f.seconds * 1000)}`];
    case "reconnecting":
      return ["bad", "disconnected"];
    case "locked":
      return ["warn", "token needed"];
  }
}
