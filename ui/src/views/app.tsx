import type { JSX } from "preact";
import type { Store } from "../state/store.ts";
import { AlertsPanel } from "./alerts.tsx";
import { ConnectionsPanel } from "./connections.tsx";
import { Foot } from "./foot.tsx";
import { Header } from "./header.tsx";
import { Notices } from "./notices.tsx";
import { Tiles } from "./tiles.tsx";
import { TokenForm } from "./token.tsx";
import { TrafficPanel } from "./traffic.tsx";

export function App({ store }: { readonly store: Store }): JSX.Element {
  const f = store.freshness.value.kind;
  const old = f === "reconnecting" || f === "stale";
  return (
    <div class={`app ${old ? "old" : ""}`} data-state={f}>
      <Header store={store} />
      {f === "locked" ? (
        <TokenForm store={store} />
      ) : (
        <>
          <Notices store={store} />
          <main class="main">
            <Tiles store={store} />
            <TrafficPanel store={store} />
            <AlertsPanel store={store} />
            <ConnectionsPanel store={store} />
          </main>
          <Foot store={store} />
        </>
      )}
    </div>
  );
}
