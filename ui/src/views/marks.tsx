import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import type { Alert } from "../api/schema.ts";
import { SeverityShape } from "../components/shapes.tsx";
import { parseTime } from "../format/time.ts";
import type { Store } from "../state/store.ts";
import { windowMs } from "../state/traffic.ts";

/** Where in the window alerts were raised. The list of alerts says the same in words. */
export function AlertMarks({ store }: { readonly store: Store }): JSX.Element {
  void store.now.value; // leaves those out that have left the window
  const now = store.serverNow();
  // Where packets have a time of their own, they have no place in the last minute of this one.
  const shown = !store.isPresent() ? [] : store.alerts.value.filter((a) => Math.abs(now - parseTime(a.ts)) < windowMs);
  const paused = store.paused.value;
  return (
    <div class={paused ? "marks paused" : "marks"} aria-hidden="true">
      {shown.map((a) => (
        <Mark key={`${a.id} ${paused ? "" : "moving"}`} alert={a} now={now} />
      ))}
    </div>
  );
}

/** The style sheet moves it with the chart: it has to be told once how old it is. */
function Mark({ alert, now }: { readonly alert: Alert; readonly now: number }): JSX.Element {
  const style = useMemo(() => ({ animationDelay: `${Math.round(parseTime(alert.ts) - now)}ms` }), []);
  return (
    <span class="mark-at" style={style}>
      <SeverityShape severity={alert.severity} />
    </span>
  );
}
