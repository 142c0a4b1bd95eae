import { useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import type { Alert, Warnings } from "../api/schema.ts";
import { FromPacket } from "../components/basics.tsx";
import { sentence, title } from "../format/names.ts";
import { count } from "../format/units.ts";
import { aspects, exceptionAbout, expiry, terms, type Aspect } from "../state/decisions.ts";
import { problemOf, type Problem } from "../state/problems.ts";
import type { Store } from "../state/store.ts";
import { ProblemNote } from "./problem.tsx";

/** What can be decided about an alert: that it is normal, or if it is hidden, that it is to be seen. */
export function Decide({ alert, store }: { readonly alert: Alert; readonly store: Store }): JSX.Element {
  const open = useSignal(false);
  if (alert.triage === "hidden") return <Hidden alert={alert} store={store} />;
  if (open.value) return <NormalForm alert={alert} store={store} onClose={() => (open.value = false)} />;
  return (
    <p class="decide">
      <button type="button" class="tool" onClick={() => (open.value = true)}>
        This is normal…
      </button>
    </p>
  );
}

function Hidden({ alert, store }: { readonly alert: Alert; readonly store: Store }): JSX.Element {
  const problem = useSignal<Problem | null>(null);
  const { decisions } = store;
  const by = decisions.exceptions.value.find((e) => e.id === alert.hidden_by);
  return (
    <p class="decide">
      <button type="button" class="tool" onClick={() => void decisions.unhide(alert.id).then((p) => (problem.value = p))}>
        Show in the list
      </button>
      <span class="muted">{by === undefined ? "Hidden by hand." : <>Normal here: <FromPacket text={by.reason} /></>}</span>
      <ProblemNote problem={problem.value} onSignIn={() => void store.signIn()} />
    </p>
  );
}

interface FormProps {
  readonly alert: Alert;
  readonly store: Store;
  readonly onClose: () => void;
}

/** Says what is normal, sees what that would hide, and saves it. */
function NormalForm({ alert, store, onClose }: FormProps): JSX.Element {
  const { decisions } = store;
  const all = aspects(alert);
  const chosen = useSignal<readonly Aspect["name"][]>(all.filter((x) => x.chosen).map((x) => x.name));
  const reason = useSignal("");
  const hours = useSignal<number>(terms[0].hours);
  const problem = useSignal<Problem | null>(null);
  const busy = useRef(false);
  const id = useId();
  const about = exceptionAbout(all.filter((x) => chosen.value.includes(x.name)));
  const escape = (e: KeyboardEvent): void => {
    if (e.key !== "Escape") return;
    e.preventDefault(); // the alert itself stays open
    const head = (e.currentTarget as HTMLElement).closest(".alert")?.querySelector<HTMLElement>(".alert-head");
    onClose();
    head?.focus({ preventScroll: true });
  };
  const submit = async (e: Event): Promise<void> => {
    e.preventDefault();
    if (busy.current) return; // the button stays enabled: one that is disabled loses the focus
    busy.current = true;
    const p = await decisions.add({ ...about, reason: reason.value, expires: expiry(hours.value, Date.now()) });
    busy.current = false;
    problem.value = p;
    if (p === null) onClose();
  };
  return (
    <form class="normal" aria-label="This is normal" onSubmit={(e) => void submit(e)} onKeyDown={escape}>
      <fieldset>
        <legend>Normal here is</legend>
        {all.map((x) => (
          <AspectBox key={x.name} aspect={x} chosen={chosen} />
        ))}
      </fieldset>
      <label for={`${id}-reason`}>Because</label>
      <input
        id={`${id}-reason`} required maxLength={500} placeholder="the nightly backup" value={reason.value}
        onInput={(e) => (reason.value = e.currentTarget.value)}
      />
      <label for={`${id}-term`}>For</label>
      <select id={`${id}-term`} onChange={(e) => (hours.value = Number(e.currentTarget.value))}>
        {terms.map((t) => (
          <option key={t.hours} value={t.hours}>
            {t.name}
          </option>
        ))}
      </select>
      <Preview about={about} store={store} />
      <ProblemNote problem={problem.value} onSignIn={() => void store.signIn()} />
      <p class="decide">
        <button type="submit" class="primary" disabled={chosen.value.length === 0}>
          Hide these
        </button>
        <button type="button" class="tool" onClick={onClose}>
          Cancel
        </button>
      </p>
    </form>
  );
}

function AspectBox({ aspect: x, chosen }: { readonly aspect: Aspect; readonly chosen: Signal<readonly Aspect["name"][]> }): JSX.Element {
  const toggle = (on: boolean): void => {
    chosen.value = on ? [...chosen.value, x.name] : chosen.value.filter((n) => n !== x.name);
  };
  return (
    <label>
      <input type="checkbox" checked={chosen.value.includes(x.name)} onChange={(e) => toggle(e.currentTarget.checked)} />
      {x.name} <strong>{x.name === "category" ? title(String(x.value)) : <FromPacket text={String(x.value)} />}</strong>
    </label>
  );
}

interface Foreseen {
  readonly text: string;
  readonly warnings: Warnings;
  readonly problem: Problem | null;
}

/** What the exception would hide, and what is rarely meant: asked for whenever it changes. */
function Preview({ about, store }: { readonly about: object; readonly store: Store }): JSX.Element {
  const foreseen = useSignal<Foreseen>({ text: "\u00a0", warnings: [], problem: null });
  const key = JSON.stringify(about);
  useEffect(() => {
    let current = true;
    const say = (text: string, warnings: Warnings = [], problem: Problem | null = null): void => {
      if (current) foreseen.value = { text, warnings, problem };
    };
    if (key === "{}") {
      say("Choose at least one.");
    } else {
      store.decisions.preview(about).then(
        ({ count: n, warnings }) => say(n === 1 ? "Hides 1 incident of the list, and those to come." : `Hides ${count(n)} incidents of the list, and those to come.`, warnings),
        async (e: unknown) => say("", [], await problemOf(e)),
      );
    }
    return () => void (current = false);
  }, [key]);
  return (
    <div class="preview num" role="status">
      <p>{foreseen.value.text}</p>
      <WarningTexts of={foreseen.value.warnings} />
      <ProblemNote problem={foreseen.value.problem} onSignIn={() => void store.signIn()} />
    </div>
  );
}

/** What is rarely meant about an exception. */
export function WarningTexts({ of }: { readonly of: Warnings }): JSX.Element {
  return (
    <>
      {of.map((w) => (
        <p key={w.code} class="warning">
          <span class="dot shape-warn" aria-hidden="true" /> <span class="hidden">Warning: </span>
          {sentence(w.message)}
        </p>
      ))}
    </>
  );
}
