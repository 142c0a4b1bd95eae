// Dark or light: what the system says, until a person chooses.
import { effect, signal } from "@preact/signals";

export type Theme = "dark" | "light";

const storageKey = "netlyra.theme";

export const theme = signal<Theme>(stored() ?? preferred());

function preferred(): Theme {
  return matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
}

function stored(): Theme | null {
  try {
    const t = localStorage.getItem(storageKey);
    return t === "dark" || t === "light" ? t : null;
  } catch {
    return null; // storage is forbidden here
  }
}

export function chooseTheme(t: Theme): void {
  theme.value = t;
  try {
    localStorage.setItem(storageKey, t);
  } catch {
    // It holds until the page is closed.
  }
}

/** Keeps the document in the theme. */
export function applyTheme(): void {
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => {
    if (stored() === null) theme.value = preferred();
  });
  effect(() => {
    document.documentElement.dataset.theme = theme.value;
  });
}
