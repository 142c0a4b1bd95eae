import { describe, expect, test } from "vitest";
import type { Alert, Columns, ServerMessage, Stats } from "../api/schema.ts";
import { alert, columns, stats } from "./fixtures.ts";
import { Model } from "./model.ts";

type Envelope = { epoch?: string; seq?: number; at?: number };

function envelope({ epoch = "e1", seq = 1, at = 10_000 }: Envelope) {
  return { v: 1, epoch, seq, ts_us: at * 1000 } as const;
}

const hello = (e: Envelope = {}): ServerMessage => ({
  ...envelope(e), type: "hello",
  data: { server: "netlyra", version: "1.2", topics: [], rates: [60, 1], credit: 2, max_bytes: 1 },
});
const snapshot = (s: Stats, c: Columns, e: Envelope = {}): ServerMessage => ({ ...envelope(e), type: "snapshot", data: { stats: s, connection: c } });
const statsMessage = (s: Stats, e: Envelope = {}): ServerMessage => ({ ...envelope(e), type: "stats", data: s });
const rows = (c: Columns, e: Envelope = {}): ServerMessage => ({ ...envelope(e), type: "connection", data: c });
const alertMessage = (a: Alert, e: Envelope = {}): ServerMessage => ({ ...envelope(e), type: "alert", data: a });
const resync = (reason: "epoch" | "too_old" | "missed" | "triage", e: Envelope = {}): ServerMessage => ({ ...envelope(e), type: "resync", data: { reason, missed: 0 } });

describe("model", () => {
  test("a snapshot is taken, acknowledged, and asks for the alerts before it", () => {
    const m = new Model();
    m.apply(hello());
    expect(m.version).toBe("1.2");
    expect(m.since()).toBeUndefined();
    expect(m.apply(snapshot(stats({ packets: 7 }), columns([{ id: "1" }], { gen: 5, full: true }), { seq: 3 }))).toEqual({ fetchAlerts: true, ack: 3 });
    expect(m.stats?.packets).toBe(7);
    expect(m.connections.size).toBe(1);
    expect(m.since()).toEqual({ epoch: "e1", seq: 3, gen: 5 });
  });

  test("alerts cost no credit, states do", () => {
    const m = new Model();
    m.apply(hello());
    expect(m.apply(alertMessage(alert(), { seq: 4 })).ack).toBeUndefined();
    expect(m.apply(statsMessage(stats(), { seq: 5 })).ack).toBe(5);
    expect(m.apply(rows(columns([], { gen: 6 }), { seq: 6 })).ack).toBe(6);
    expect(m.since()).toEqual({ epoch: "e1", seq: 6, gen: 6 });
  });

  test("asides do not count as seen: they carry the number of another message", () => {
    const m = new Model();
    m.apply(hello({ seq: 90 }));
    m.apply(snapshot(stats(), columns([], { gen: 1 }), { seq: 3 }));
    expect(m.apply(resync("missed", { seq: 99 }))).toEqual({ fetchAlerts: true });
    expect(m.since()?.seq).toBe(3);
  });

  test("an alert that is new is told apart from a revision", () => {
    const m = new Model();
    m.apply(hello());
    expect(m.apply(alertMessage(alert({ rev: 1 }))).fresh?.id).toBe("a");
    expect(m.apply(alertMessage(alert({ rev: 2, count: 9 }))).fresh).toBeUndefined();
    expect(m.alerts.items).toHaveLength(1);
    expect(m.alerts.items[0]?.count).toBe(9);
  });

  test("an alert that comes again, or from the database, is there once in its highest revision", () => {
    const m = new Model();
    m.apply(hello());
    m.apply(alertMessage(alert({ rev: 3, count: 30 })));
    m.alerts.renew([alert({ id: "b", ts: "2026-11-24T06:00:00Z" }), alert({ rev: 2, count: 20 })], null);
    m.apply(alertMessage(alert({ rev: 3, count: 31 })));
    expect(m.alerts.items.map((a) => [a.id, a.count])).toEqual([["b", 1], ["a", 30]]);
  });

  test("when alerts have left the list, those go that were known when it was asked for", () => {
    const m = new Model();
    m.apply(hello());
    m.apply(alertMessage(alert({ id: "hidden" })));
    m.apply(alertMessage(alert({ id: "stays", rev: 2, count: 20 })));
    expect(m.apply(resync("triage"))).toEqual({ fetchAlerts: "anew" });
    const doubted = new Set(m.alerts.items.map((a) => a.id));
    m.apply(alertMessage(alert({ id: "new" })));
    m.apply(alertMessage(alert({ id: "stays", rev: 3, count: 30 })));
    m.alerts.renew([alert({ id: "stays", rev: 2, count: 20, triage: "acknowledged" }), alert({ id: "back" })], null, doubted);
    expect(m.alerts.items.map((a) => a.id).sort()).toEqual(["back", "new", "stays"]);
    expect(m.alerts.items.find((a) => a.id === "stays")).toMatchObject({ rev: 3, triage: "acknowledged" });
  });

  test("a decision counts without a new revision", () => {
    const m = new Model();
    m.apply(hello());
    m.alerts.renew([alert({ triage: "new" })], null);
    m.alerts.renew([alert({ triage: "acknowledged" })], null, new Set(["a"]));
    expect(m.alerts.items[0]?.triage).toBe("acknowledged");
  });

  test("the same server goes on; another one starts from nothing", () => {
    const m = new Model();
    m.apply(hello());
    m.apply(snapshot(stats(), columns([{ id: "1" }], { gen: 5, full: true }), { seq: 3 }));
    m.apply(alertMessage(alert(), { seq: 4 }));
    m.apply(hello({ epoch: "e1" }));
    expect(m.alerts.items).toHaveLength(1);
    expect(m.since()).toEqual({ epoch: "e1", seq: 4, gen: 5 });
    m.apply(hello({ epoch: "e2" }));
    expect(m.alerts.items).toHaveLength(0);
    expect(m.since()).toBeUndefined();
    m.apply(resync("epoch", { epoch: "e2" }));
    m.apply(snapshot(stats(), columns([{ id: "9" }], { gen: 1, full: true }), { epoch: "e2", seq: 1 }));
    expect(m.connections.sorted("rate", true).map((c) => c.id)).toEqual(["9"]);
  });

  test("losses of the last minute are counted from what this page has seen", () => {
    const m = new Model();
    m.apply(hello());
    const lost = (count: number, at: number) => m.apply(statsMessage(stats({ drops: [{ stage: "kernel", reason: "ring_full", count, unit: "packet", effect: "unseen" }] }), { at }));
    lost(1000, 10_000);
    expect(m.recentLosses()).toBe(0);
    for (let s = 1; s <= 30; s++) lost(1000 + s, 10_000 + s * 1000);
    expect(m.recentLosses()).toBe(30);
    for (let s = 31; s <= 120; s++) lost(1030, 10_000 + s * 1000);
    expect(m.recentLosses()).toBe(0);
  });

  test("so many readings take no memory", () => {
    const m = new Model();
    m.apply(hello());
    for (let i = 0; i < 600; i++) m.apply(statsMessage(stats({ drops: [{ stage: "k", reason: "r", count: i, unit: "packet" as const, effect: "unseen" as const }] }), { at: 10_000 + i * 16 }));
    expect(m.recentLosses()).toBe(599);
  });
});
