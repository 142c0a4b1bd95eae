import type { ComponentChildren, JSX } from "preact";
import type { Quantity } from "../format/units.ts";
import { absolute, age, ago } from "../format/time.ts";
import { printable } from "../format/names.ts";

/** A time as its age, with the absolute time as tooltip. Both in ms. In words it is "12 s ago". */
export function Age({ at, now, words = false }: { readonly at: number; readonly now: number; readonly words?: boolean }): JSX.Element {
  const ms = Math.max(0, now - at);
  return (
    <time class="num" title={absolute(at)} dateTime={Number.isFinite(at) ? new Date(at).toISOString() : undefined}>
      {words ? ago(ms) : age(ms)}
    </time>
  );
}

/** A number with its unit smaller. */
export function Amount({ of }: { readonly of: Quantity }): JSX.Element {
  return (
    <span class="amount num">
      {of.value}
      <span class="unit">{"\u00a0" + of.unit}</span>
    </span>
  );
}

/** A text that comes from packets: as text, with what is invisible made visible, and kept from turning its surroundings. */
export function FromPacket({ text }: { readonly text: string }): JSX.Element {
  return <bdi title={printable(text)}>{printable(text)}</bdi>;
}

export function Panel(props: {
  readonly id: string;
  readonly title: string;
  readonly extra?: ComponentChildren;
  readonly children: ComponentChildren;
}): JSX.Element {
  return (
    <section class={`panel ${props.id}`} aria-labelledby={`${props.id}-title`}>
      <header class="panel-head">
        <h2 id={`${props.id}-title`} tabIndex={-1}>
          {props.title}
        </h2>
        {props.extra}
      </header>
      {props.children}
    </section>
  );
}

/** What stands where there is nothing to show, and why. */
export function Empty({ title, text }: { readonly title: string; readonly text: string }): JSX.Element {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      <p>{text}</p>
    </div>
  );
}

/** Place-holders of the shape of what is to come. */
export function Skeleton({ rows }: { readonly rows: number }): JSX.Element {
  return (
    <div class="skeleton" aria-hidden="true">
      {Array.from({ length: rows }, (_, i) => (
        <span key={i} />
      ))}
    </div>
  );
}
