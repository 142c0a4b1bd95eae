// Whether single keys act: people who speak to their machine, or hit keys by accident, turn them off (WCAG 2.1.4).
import { signal } from "@preact/signals";

const storageKey = "netlyra.keys";

export const singleKeys = signal(stored());

function stored(): boolean {
  try {
    return localStorage.getItem(storageKey) !== "off";
  } catch {
    return true; // storage is forbidden here
  }
}

export function setSingleKeys(on: boolean): void {
  singleKeys.value = on;
  try {
    localStorage.setItem(storageKey, on ? "on" : "off");
  } catch {
    // It holds until the page is closed.
  }
}
