import type { JSX } from "preact";
import { SeverityShape } from "../components/shapes.tsx";
import { parseTime } from "../format/time.ts";
import type { Store } from "../state/store.ts";
import { windowMs } from "../state/traffic.ts";

/** Where in the window alerts were raised. The list of alerts says the same in words. */
export function AlertMarks({ store }: { readonly store: Store }): JSX.Element {
  void store.now.value; // moves with the clock
  const now = store.serverNow();
  return (
    <div class="marks" aria-hidden="true">
      {store.alerts.value.map((a) => {
        const share = 1 - (now - parseTime(a.ts)) / windowMs;
        if (!(share >= 0 && share <= 1)) return null;
        return (
          <span key={a.id} class="mark-at" style={{ left: `${(share * 100).toFixed(2)}%` }} title={a.summary}>
            <SeverityShape severity={a.severity} />
          </span>
        );
      })}
    </div>
  );
}
