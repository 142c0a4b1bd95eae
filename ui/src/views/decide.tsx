import { useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useId } from "preact/hooks";
import type { Alert } from "../api/schema.ts";
import { FromPacket } from "../components/basics.tsx";
import { title } from "../format/names.ts";
import { count } from "../format/units.ts";
import { aspects, exceptionAbout, expiry, terms, type Aspect, type Decisions } from "../state/decisions.ts";

/** What can be decided about an alert: that it is normal, or if it is hidden, that it is to be seen. */
export function Decide({ alert, decisions }: { readonly alert: Alert; readonly decisions: Decisions }): JSX.Element {
  const open = useSignal(false);
  if (alert.triage === "hidden") return <Hidden alert={alert} decisions={decisions} />;
  if (open.value) return <NormalForm alert={alert} decisions={decisions} onClose={() => (open.value = false)} />;
  return (
    <p class="decide">
      <button type="button" class="tool" onClick={() => (open.value = true)}>
        This is normal…
      </button>
    </p>
  );
}

function Hidden({ alert, decisions }: { readonly alert: Alert; readonly decisions: Decisions }): JSX.Element {
  const problem = useSignal("");
  const by = decisions.exceptions.value.find((e) => e.id === alert.hidden_by);
  return (
    <p class="decide">
      <button type="button" class="tool" onClick={() => void decisions.unhide(alert.id).then((p) => (problem.value = p ?? ""))}>
        Show in the list
      </button>
      <span class="muted">{by === undefined ? "Hidden by hand." : <>Normal here: <FromPacket text={by.reason} /></>}</span>
      <span class="problem" role="alert">{problem.value}</span>
    </p>
  );
}

interface FormProps {
  readonly alert: Alert;
  readonly decisions: Decisions;
  readonly onClose: () => void;
}

/** Says what is normal, sees what that would hide, and saves it. */
function NormalForm({ alert, decisions, onClose }: FormProps): JSX.Element {
  const all = aspects(alert);
  const chosen = useSignal<readonly Aspect["name"][]>(all.filter((x) => x.chosen).map((x) => x.name));
  const reason = useSignal("");
  const hours = useSignal<number>(terms[0].hours);
  const problem = useSignal("");
  const busy = useSignal(false);
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
    busy.value = true;
    const p = await decisions.add({ ...about, reason: reason.value, expires: expiry(hours.value, Date.now()) });
    busy.value = false;
    problem.value = p ?? "";
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
      <Preview about={about} decisions={decisions} />
      <span class="problem" role="alert">{problem.value}</span>
      <p class="decide">
        <button type="submit" class="primary" disabled={busy.value || chosen.value.length === 0}>
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

/** How many incidents of the list the exception would hide: asked for whenever it changes. */
function Preview({ about, decisions }: { readonly about: object; readonly decisions: Decisions }): JSX.Element {
  const text = useSignal("\u00a0");
  const key = JSON.stringify(about);
  useEffect(() => {
    let current = true;
    const say = (t: string): void => {
      if (current) text.value = t;
    };
    if (key === "{}") {
      say("Choose at least one.");
    } else {
      decisions.preview(about).then(
        (n) => say(n === 1 ? "Hides 1 incident of the list, and those to come." : `Hides ${count(n)} incidents of the list, and those to come.`),
        (e: unknown) => say(e instanceof Error ? e.message : String(e)),
      );
    }
    return () => void (current = false);
  }, [key]);
  return (
    <p class="preview num" role="status">
      {text.value}
    </p>
  );
}
