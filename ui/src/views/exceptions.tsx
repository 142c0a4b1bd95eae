import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import type { Exception } from "../api/schema.ts";
import { Empty, FromPacket } from "../components/basics.tsx";
import { absolute, age, parseTime } from "../format/time.ts";
import { count } from "../format/units.ts";
import { scope } from "../state/decisions.ts";
import type { Problem } from "../state/problems.ts";
import type { Store } from "../state/store.ts";
import { WarningTexts } from "./decide.tsx";
import { useKeptFocus } from "./focus.ts";
import { ProblemNote } from "./problem.tsx";

/** What is normal here, why, for how long, and how much it has hidden. */
export function ExceptionList({ store }: { readonly store: Store }): JSX.Element {
  const all = store.decisions.exceptions.value;
  const list = useRef<HTMLDivElement>(null);
  useKeptFocus(list, ".exception button");
  return (
    <div ref={list} tabIndex={-1}>
      <Items all={all} store={store} />
    </div>
  );
}

function Items({ all, store }: { readonly all: readonly Exception[]; readonly store: Store }): JSX.Element {
  if (all.length === 0) {
    return <Empty title="No exceptions" text="Open an alert and choose “This is normal…” to hide incidents like it." />;
  }
  return (
    <ul class="exception-list">
      {all.map((e) => (
        <Item key={e.id} exception={e} store={store} now={store.now.value} />
      ))}
    </ul>
  );
}

interface ItemProps {
  readonly exception: Exception;
  readonly store: Store;
  readonly now: number;
}

function Item({ exception: e, store, now }: ItemProps): JSX.Element {
  const problem = useSignal<Problem | null>(null);
  return (
    <li class="exception" data-exception={e.id}>
      <p class="exception-what">
        <FromPacket text={scope(e)} />
      </p>
      <p class="muted">
        <FromPacket text={e.reason} />
      </p>
      <p class="alert-line num">
        <span>{count(e.hits)} hidden</span>
        <span>{end(e, now)}</span>
        <span class="spring" />
        <button type="button" class="tool" onClick={() => void store.decisions.remove(e).then((p) => (problem.value = p))}>
          Remove<span class="hidden"> {scope(e)}</span>
        </button>
      </p>
      <WarningTexts of={e.warnings ?? []} />
      <ProblemNote problem={problem.value} onSignIn={() => void store.signIn()} />
    </li>
  );
}

function end(e: Exception, now: number): string {
  const left = parseTime(e.expires ?? null) - now;
  if (Number.isNaN(left)) return "for ever";
  const until = absolute(parseTime(e.expires)).slice(0, 16);
  return left > 0 ? `${age(left)} left, until ${until}` : `expired ${until}`;
}
