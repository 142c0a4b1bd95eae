import type { JSX } from "preact";
import type { Store } from "../state/store.ts";
import type { Freshness } from "../state/status.ts";
import { age } from "../format/time.ts";

/** What the page has to say about itself: the connection first, then the program. */
export function Notices({ store }: { readonly store: Store }): JSX.Element {
  const f = store.freshness.value;
  return (
    <section class="notices" aria-label="Notices">
      <Connection freshness={f} store={store} />
      {store.paused.value && (
        <div class="notice tone-info">
          <strong>Paused</strong>
          <span>The display stands still. NetLyra goes on, and alerts still come.</span>
          <button type="button" onClick={() => store.setPaused(false)}>
            Resume
          </button>
        </div>
      )}
      {store.notices.value.map((n) => (
        <div key={n.id} class={`notice tone-${n.tone}`} role="status">
          <strong>{n.title}</strong>
          <span>{n.text}</span>
        </div>
      ))}
    </section>
  );
}

function Connection({ freshness: f, store }: { readonly freshness: Freshness; readonly store: Store }): JSX.Element | null {
  switch (f.kind) {
    case "stale":
      return (
        <div class="notice tone-warn" role="status">
          <strong>Stale</strong>
          <span>
            The connection is open, but nothing has come for <span class="num">{age(f.seconds * 1000)}</span>: the numbers are as old.
          </span>
        </div>
      );
    case "reconnecting":
      return (
        <div class="notice tone-bad">
          <strong role="alert">Connection lost</strong>
          <span>
            {f.reason !== "" && `${sentence(f.reason)} `}
            {Number.isNaN(f.age) ? "" : <>The numbers are <span class="num">{age(f.age)}</span> old. </>}
            <span class="num">{f.seconds > 0 ? `Next try in ${f.seconds.toFixed(1)}\u00a0s` : "Trying now"}</span>
            <span class="attempt num"> (attempt {f.attempt})</span>
          </span>
          <button type="button" onClick={() => store.reconnect()}>
            Try now
          </button>
        </div>
      );
    case "connecting":
    case "live":
    case "locked":
      return null;
  }
}

function sentence(s: string): string {
  return `${s.slice(0, 1).toUpperCase()}${s.slice(1)}.`;
}
