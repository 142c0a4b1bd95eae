import type { JSX } from "preact";
import type { Stats } from "../api/schema.ts";
import { FromPacket } from "../components/basics.tsx";
import { Icon, Mark } from "../components/shapes.tsx";
import { linkState, sourceState, type Freshness } from "../state/status.ts";
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
      {store.chosen.value !== "" && (
        <button type="button" class="chip chosen" title="Show all sensors" onClick={() => store.choose("")}>
          sensor <FromPacket text={store.chosen.value} /> <span aria-hidden="true">×</span>
          <span class="hidden">: show all sensors</span>
        </button>
      )}
      <Sources stats={store.shown.value} freshness={store.freshness.value} />
      <span class="spring" />
      <LinkChip state={linkState(store.freshness.value, paused, store.shown.value)} />
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

/** Where the packets come from, and whether they can. */
function Sources({ stats, freshness }: { readonly stats: Stats | null; readonly freshness: Freshness }): JSX.Element | null {
  if (stats === null) return null;
  return (
    <ul class="sources" aria-label="Sources">
      {(stats.interfaces ?? []).map((i) => {
        const [tone, text] = sourceState(i.link, freshness);
        return (
          <li key={i.name} class={`chip tone-${tone}`}>
            <span class={`dot shape-${tone}`} aria-hidden="true" />
            <FromPacket text={i.name} /> <span class="chip-note">{text}</span>
          </li>
        );
      })}
    </ul>
  );
}

function LinkChip({ state: [tone, text] }: { readonly state: ReturnType<typeof linkState> }): JSX.Element {
  return (
    <span class={`chip link tone-${tone}`} role="status">
      <span class={`dot shape-${tone}`} aria-hidden="true" />
      {text}
    </span>
  );
}
