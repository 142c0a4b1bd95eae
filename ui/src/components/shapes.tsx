// Small pictures. They never stand alone: a text says the same.
import type { JSX } from "preact";
import type { Severity } from "../api/schema.ts";

const severityPaths: Readonly<Record<Severity, string>> = {
  low: "M8 3.5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 1 1 0-9z", // circle
  medium: "M8 2l6 6-6 6-6-6z", // diamond
  high: "M8 2l6.5 12h-13z", // triangle
  critical: "M2.5 2.5h11v11h-11z", // square
};

/** A severity's colour and shape; its name has to stand beside it. */
export function SeverityShape({ severity }: { readonly severity: Severity }): JSX.Element {
  return (
    <svg class={`shape severity-${severity}`} viewBox="0 0 16 16" width="12" height="12" aria-hidden="true">
      <path d={severityPaths[severity]} fill="currentColor" />
    </svg>
  );
}

const iconPaths = {
  sun: "M8 5a3 3 0 1 1 0 6a3 3 0 1 1 0-6zM8 1v1.6M8 13.4V15M1 8h1.6M13.4 8H15M3 3l1.2 1.2M11.8 11.8L13 13M13 3l-1.2 1.2M4.2 11.8L3 13",
  moon: "M13.5 9.8A6 6 0 0 1 6.2 2.5a6 6 0 1 0 7.3 7.3z",
  pause: "M5 3v10M11 3v10",
  play: "M4.5 2.5l9 5.5-9 5.5z",
  table: "M2 3h12v10H2zM2 6.5h12M2 9.8h12M6 3v10",
  chart: "M2 13h12M3.5 10.5v-3M6.5 10.5v-6M9.5 10.5v-4M12.5 10.5v-8",
  chevron: "M6 3.5L10.5 8 6 12.5",
} as const;

export function Icon({ name }: { readonly name: keyof typeof iconPaths }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={iconPaths[name]} fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round" />
    </svg>
  );
}

/** The mark of the program: a lyra. */
export function Mark(): JSX.Element {
  return (
    <svg class="mark" viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
      <path d="M7 5c0 10-2.5 14 4 20h10c6.5-6 4-10 4-20" fill="none" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" />
      <path d="M12.2 8v17M16 8v17M19.8 8v17" stroke="var(--accent)" stroke-width="1.6" stroke-linecap="round" />
    </svg>
  );
}
