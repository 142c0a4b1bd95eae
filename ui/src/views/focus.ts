// Where the focus goes when what had it is gone, so that a keyboard does not begin again at the top of the page.
import { useEffect } from "preact/hooks";

/**
 * Keeps the focus in a list whose items come and go: it moves to the item that takes the place of the one that has gone, or to the list.
 * items selects what can have it.
 */
export function useKeptFocus(list: { readonly current: HTMLElement | null }, items: string): void {
  useEffect(() => {
    const root = list.current;
    if (root === null) return;
    let place = -1; // of the item that has the focus, or had it when it went; -1: the focus is elsewhere
    const all = (): HTMLElement[] => [...root.querySelectorAll<HTMLElement>(items)];
    const remember = (): void => {
      const at = all().findIndex((i) => i.closest("li")?.contains(document.activeElement) ?? false);
      if (at >= 0) place = at;
    };
    const left = (e: FocusEvent): void => {
      const gone = e.target;
      // An element that is taken out of the page has left nobody the choice.
      queueMicrotask(() => {
        if (root.contains(document.activeElement)) return;
        if (e.relatedTarget !== null || (gone instanceof Node && gone.isConnected)) place = -1;
      });
    };
    const observer = new MutationObserver(() => {
      if (place < 0) return;
      if (document.activeElement !== document.body && document.activeElement !== null) {
        remember();
        return;
      }
      const left = all();
      (left[Math.min(place, left.length - 1)] ?? root).focus({ preventScroll: true });
    });
    root.addEventListener("focusin", remember);
    root.addEventListener("focusout", left);
    observer.observe(root, { childList: true, subtree: true });
    return () => {
      root.removeEventListener("focusin", remember);
      root.removeEventListener("focusout", left);
      observer.disconnect();
    };
  }, []);
}
