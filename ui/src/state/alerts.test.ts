import { describe, expect, test } from "vitest";
import type { Alert } from "../api/schema.ts";
import { AlertList, announcement, gravest, heldAt, mergeAlerts, room, splitHeld, tally } from "./alerts.ts";
import { alert } from "./fixtures.ts";

/** The alert of a second. */
const at = (n: number, over: Partial<Alert> = {}): Alert => alert({ id: `${n}`, ts: new Date(1e12 + n * 1000).toISOString().replace("Z", "000Z"), ...over });
/** Alerts of seconds, the newest first. */
const span = (newest: number, oldest: number): Alert[] => Array.from({ length: newest - oldest + 1 }, (_, i) => at(newest - i));
const ids = (alerts: readonly Alert[]): number[] => alerts.map((a) => Number(a.id));

describe("the list of alerts", () => {
  test("older ones follow page by page, to the end", () => {
    const l = new AlertList();
    expect(l.following()).toBeNull();
    l.renew(span(9, 7), { cursor: "c1" });
    expect(l.following()).toEqual({ cursor: "c1" });
    l.append(l.following(), span(6, 4), { cursor: "c2" });
    l.append(l.following(), span(3, 1), null);
    expect(ids(l.items)).toEqual([9, 8, 7, 6, 5, 4, 3, 2, 1]);
    expect(l.following()).toBeNull();
  });

  test("what has been loaded stays when the newest are asked for again", () => {
    const l = new AlertList();
    l.renew(span(6, 4), { cursor: "c1" });
    l.append(l.following(), span(3, 1), { cursor: "c2" });
    l.renew(span(8, 6), { cursor: "c3" });
    expect(ids(l.items)).toEqual([8, 7, 6, 5, 4, 3, 2, 1]);
    expect(l.following()).toEqual({ cursor: "c2" });
  });

  test("beyond a hole nothing stays: it would look as if nothing had been between", () => {
    const l = new AlertList();
    l.renew(span(3, 1), { cursor: "c1" });
    l.renew(span(9, 7), { cursor: "c2" });
    expect(ids(l.items)).toEqual([9, 8, 7]);
    expect(l.following()).toEqual({ cursor: "c2" });
  });

  test("a page that was asked for before the list was renewed is not taken", () => {
    const l = new AlertList();
    l.renew(span(10, 5), { cursor: "c1" });
    const asked = l.following();
    l.renew(span(30, 20), { cursor: "c2" });
    l.append(asked, span(4, 1), null);
    expect(ids(l.items)).toEqual(ids(span(30, 20)));
    expect(l.following()).toEqual({ cursor: "c2" });
  });

  test("a revision of one that is not loaded makes no hole and is no news", () => {
    const l = new AlertList();
    l.renew(span(9, 7), { cursor: "c1" });
    expect(l.put(at(2, { rev: 5 }))).toBe(false);
    expect(ids(l.items)).toEqual([9, 8, 7]);
    expect(l.put(at(10))).toBe(true);
    l.append(l.following(), span(6, 1), null);
    expect(l.put(at(0))).toBe(true); // all is loaded: there is no hole
  });

  test("where the oldest had to go, the list goes on from there", () => {
    const l = new AlertList();
    l.renew(span(room - 1, 1), null);
    l.put(at(room));
    expect(l.items).toHaveLength(room);
    expect(l.following()).toBeNull();
    l.put(at(room + 1));
    expect(l.items).toHaveLength(room);
    const { to } = l.following() ?? {};
    expect(Date.parse(to ?? "")).toBe(1e12 + 2000 + 1);
    l.expect(100);
    l.append(l.following(), [at(2), at(1)], null);
    expect(ids(l.items).slice(-2)).toEqual([2, 1]);
    expect(l.put(at(room + 2))).toBe(true);
    expect(l.items).toHaveLength(room + 2);
  });

  test("after a decision those go that should be in the answer and are not", () => {
    const l = new AlertList();
    l.renew(span(9, 4), { cursor: "c1" });
    l.append(l.following(), span(3, 1), { cursor: "c2" });
    const doubted = new Set(l.items.map((a) => a.id));
    l.put(at(10));
    l.renew([at(9), at(7), at(5), at(4)], { cursor: "c3" }, doubted);
    expect(ids(l.items)).toEqual([10, 9, 7, 5, 4, 3, 2, 1]);
    l.renew([], null, new Set(l.items.map((a) => a.id)));
    expect(l.items).toEqual([]);
  });

  test("what goes on is counted by the server's list, and by what happens", () => {
    const l = new AlertList();
    l.renew(span(9, 7), { cursor: "c1" });
    expect(l.open).toBeNull();
    l.askOpen();
    l.put(at(8, { rev: 2, state: "closed" }));
    l.setOpen([at(8), at(1, { severity: "low" })]);
    expect([...(l.open ?? [])]).toEqual([["1", "low"]]);
    l.put(at(10));
    l.put(at(1, { rev: 3, state: "closed" }));
    expect([...(l.open ?? [])]).toEqual([["10", "high"]]);
  });

  test("nothing new is the same list", () => {
    const known = [alert({ rev: 2 })];
    expect(mergeAlerts(known, [alert({ rev: 1 }), alert({ rev: 2 })])).toBe(known);
  });

  test("a revision does not forget what a person has decided", () => {
    expect(mergeAlerts([alert({ rev: 1, triage: "acknowledged" })], [alert({ rev: 2 })])[0]?.triage).toBe("acknowledged");
  });
});

describe("a held list", () => {
  test("lets nothing in between, but older ones at its end, and lets go what is gone", () => {
    const held = heldAt(span(9, 7));
    const { shown, waiting } = splitHeld([at(11), at(10), at(9), at(8, { id: "808" }), at(7), at(6)], held);
    expect(ids(shown)).toEqual([9, 7, 6]);
    expect(ids(waiting)).toEqual([11, 10, 808]);
    expect(splitHeld(span(3, 1), null).waiting).toEqual([]);
    expect(ids(splitHeld(span(3, 1), heldAt([])).shown)).toEqual([3, 2, 1]);
  });

  test("takes in again what was in it before", () => {
    const { shown, waiting } = splitHeld(span(10, 7), heldAt([at(9), at(7)], ["8"]));
    expect(ids(shown)).toEqual([9, 8, 7]);
    expect(ids(waiting)).toEqual([10]);
  });
});

test("severities are counted, and the gravest is known", () => {
  expect([...tally(["high", "low", "high"])]).toEqual([["high", 2], ["low", 1]]);
  expect(gravest([at(1), at(2, { severity: "critical" })])).toBe("critical");
  expect(gravest([])).toBeNull();
});

test("several at a time are announced as one", () => {
  expect(announcement([alert()])).toBe("high alert: 192.0.2.66 scans.");
  expect(announcement([alert(), alert({ id: "b" })])).toMatch(/^2 new alerts/);
  expect(announcement([])).toBe("");
});
