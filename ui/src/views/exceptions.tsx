import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { Exception } from "../api/schema.ts";
import { Empty, FromPacket } from "../components/basics.tsx";
import { title } from "../format/names.ts";
import { absolute, age, parseTime } from "../format/time.ts";
import { count } from "../format/units.ts";
import type { Decisions } from "../state/decisions.ts";

/** What is normal here, why, for how long, and how much it has hidden. */
export function ExceptionList({ decisions, now }: { readonly decisions: Decisions; readonly now: number }): JSX.Element {
  const all = decisions.exceptions.value;
  if (all.length === 0) {
    return <Empty title="No exceptions" text="Open an alert and choose “This is normal…” to hide incidents like it." />;
  }
  return (
    <ul class="exception-list">
      {all.map((e) => (
        <Item key={e.id} exception={e} decisions={decisions} now={now} />
      ))}
    </ul>
  );
}

interface ItemProps {
  readonly exception: Exception;
  readonly decisions: Decisions;
  readonly now: number;
}

function Item({ exception: e, decisions, now }: ItemProps): JSX.Element {
  const problem = useSignal("");
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
        <span title={e.expires === null ? undefined : absolute(parseTime(e.expires))}>{end(e, now)}</span>
        <span class="spring" />
        <span class="problem" role="alert">{problem.value}</span>
        <button type="button" class="tool" onClick={() => void decisions.remove(e.id).then((p) => (problem.value = p ?? ""))}>
          Remove<span class="hidden"> {scope(e)}</span>
        </button>
      </p>
    </li>
  );
}

function scope(e: Exception): string {
  const ends = [e.host, e.peer].filter((x) => x !== undefined);
  return [
    ...(e.category === undefined ? [] : [title(e.category)]),
    ...(ends.length === 0 ? [] : [ends.join(" ↔ ")]),
    ...(e.port === undefined ? [] : [`port ${e.port}`]),
    ...(e.proto === undefined ? [] : [e.proto]),
    ...(e.sensor === undefined ? [] : [`sensor ${e.sensor}`]),
  ].join(", ");
}

function end(e: Exception, now: number): string {
  const left = parseTime(e.expires ?? null) - now;
  if (Number.isNaN(left)) return "for ever";
  return left > 0 ? `${age(left)} left` : "expired";
}
