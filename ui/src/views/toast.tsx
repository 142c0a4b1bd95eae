import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { singleKeys } from "../state/keys.ts";
import type { Store } from "../state/store.ts";
import { WarningTexts } from "./decide.tsx";
import { ProblemNote } from "./problem.tsx";

/** So long, ms, what was done can be undone here. It does not run out while somebody points at it or is in it. */
const patience = 10_000;

/** What has just been decided, with the way back. */
export function Toast({ store }: { readonly store: Store }): JSX.Element {
  const { done } = store.decisions;
  const box = useRef<HTMLDivElement>(null);
  const d = done.value;
  useEffect(() => {
    if (d === null) return;
    let left = patience;
    const step = 250;
    const timer = window.setInterval(() => {
      if (box.current?.matches(":hover, :focus-within") !== true) left -= step;
      if (left <= 0) done.value = null;
    }, step);
    return () => clearInterval(timer);
  }, [d]);
  return (
    <div class="toasts" ref={box} role="status">
      {d !== null && (
        <div class="notice toast tone-info">
          <div>
            <p>{d.text}</p>
            <WarningTexts of={d.warnings} />
            <ProblemNote problem={d.problem} onSignIn={() => void store.signIn()} />
          </div>
          {d.undo !== null && (
            <button type="button" onClick={() => void d.undo?.()}>
              Undo{singleKeys.value && <kbd>z</kbd>}
            </button>
          )}
          <button type="button" onClick={() => (done.value = null)}>
            Close
          </button>
        </div>
      )}
    </div>
  );
}
