import type { JSX } from "preact";
import type { Store } from "../state/store.ts";
import { AlertsPanel } from "./alerts.tsx";
import { ConnectionsPanel } from "./connections.tsx";
import { Foot } from "./foot.tsx";
import { Header } from "./header.tsx";
import { Notices } from "./notices.tsx";
import { SensorsPanel } from "./sensors.tsx";
import { Tiles } from "./tiles.tsx";
import { Toast } from "./toast.tsx";
import { TokenForm } from "./token.tsx";
import { TrafficPanel } from "./traffic.tsx";

export function App({ store }: { readonly store: Store }): JSX.Element {
  const f = store.freshness.value.kind;
  const old = f === "reconnecting" || f === "stale";
  return (
    <div class={`app ${old ? "old" : ""}`} data-state={f}>
      {f !== "locked" && <SkipLinks />}
      <Header store={store} />
      {f === "locked" ? (
        <TokenForm store={store} />
      ) : (
        <>
          <main class={store.isFleet.value ? "main fleet" : "main"}>
            <Tiles store={store} />
            {store.isFleet.value && <SensorsPanel store={store} />}
            <TrafficPanel store={store} />
            <AlertsPanel store={store} />
            <ConnectionsPanel store={store} />
          </main>
          <div class="messages">
            <Notices store={store} />
            <Toast store={store} />
          </div>
          <Foot store={store} />
        </>
      )}
    </div>
  );
}

/** The first stops of the tab key: past all that is before a panel. */
function SkipLinks(): JSX.Element {
  return (
    <nav class="skip" aria-label="Skip to">
      <a href="#alerts-title">Skip to alerts</a>
      <a href="#connections-title">Skip to connections</a>
      <a href="#traffic-title">Skip to the chart</a>
    </nav>
  );
}
