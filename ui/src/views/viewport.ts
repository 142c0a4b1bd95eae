// Rows of one height, of which only those in sight exist.
import { useSignal, type Signal } from "@preact/signals";
import { useEffect } from "preact/hooks";

/** Height of a row in CSS pixels; app.css has the same. */
export const rowHeight = 26;

/** Which part of a scrolling element is seen. */
export function useViewport(element: { readonly current: HTMLElement | null }): Signal<{ top: number; height: number }> {
  const view = useSignal({ top: 0, height: 600 });
  useEffect(() => {
    const e = element.current;
    if (e === null) return;
    const read = (): void => {
      view.value = { top: e.scrollTop, height: e.clientHeight };
    };
    const observer = new ResizeObserver(read);
    observer.observe(e);
    e.addEventListener("scroll", read, { passive: true });
    return () => {
      observer.disconnect();
      e.removeEventListener("scroll", read);
    };
  }, []);
  return view;
}

/** One row is in the order of the tab key; arrows move between rows. */
export function moveRow(e: KeyboardEvent, active: Signal<number>, rows: number, scroller: HTMLElement | null): void {
  const page = Math.max(1, Math.floor((scroller?.clientHeight ?? 0) / rowHeight) - 1);
  const to: Readonly<Record<string, number>> = {
    ArrowDown: active.value + 1,
    ArrowUp: active.value - 1,
    PageDown: active.value + page,
    PageUp: active.value - page,
    Home: 0,
    End: rows - 1,
  };
  const target = to[e.key];
  if (target === undefined || scroller === null) return;
  e.preventDefault();
  const row = Math.min(rows - 1, Math.max(0, target));
  active.value = row;
  const top = row * rowHeight;
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  if (top + rowHeight > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + rowHeight - scroller.clientHeight;
  requestAnimationFrame(() => scroller.querySelector<HTMLElement>(`[data-row="${row}"]`)?.focus({ preventScroll: true }));
}
