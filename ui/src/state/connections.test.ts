import { describe, expect, test } from "vitest";
import { Connections, hold } from "./connections.ts";
import { columns } from "./fixtures.ts";

const ids = (c: Connections): string[] => c.sorted("bytes", true).map((r) => r.id);

describe("connections", () => {
  test("rows replace what was known, and those gone leave", () => {
    const c = new Connections();
    c.merge(columns([{ id: "1", bytes: 10 }, { id: "2", bytes: 20 }], { full: true }));
    c.merge(columns([{ id: "1", bytes: 30 }, { id: "3", bytes: 5 }], { gone: ["2"] }));
    expect(ids(c)).toEqual(["1", "3"]);
    expect(c.size).toBe(2);
  });

  test("a full list replaces all", () => {
    const c = new Connections();
    c.merge(columns([{ id: "1" }, { id: "2" }]));
    const old = c.sorted("last", true).find((r) => r.id === "1");
    c.merge(columns([{ id: "2" }, { id: "3" }], { full: true }));
    expect(ids(c).sort()).toEqual(["2", "3"]);
    expect(old?.gone).toBe(true);
  });

  test("counts above 2^53 come as text", () => {
    const c = new Connections();
    c.merge(columns([{ id: "1", bytes: "18446744073709551615" }]));
    expect(c.sorted("bytes", true)[0]?.bytesUp).toBeCloseTo(1.8446744e19, -13);
  });

  test("the rate and the incident are the server's: what a connection carried before is no rate", () => {
    const c = new Connections();
    c.merge(columns([{ id: "1", bytes: 1e9, last: 1000 }, { id: "2", bytes: 10, rateUp: 100, rateDown: 20, alert: "a1" }], { full: true }));
    expect(c.sorted("rate", true).map((r) => [r.id, r.rate, r.alert])).toEqual([["2", 120, "a1"], ["1", 0, ""]]);
    c.merge(columns([{ id: "2", bytes: 10 }]));
    expect(c.sorted("rate", true).find((r) => r.id === "2")?.rate).toBe(0);
  });

  test("a list of which rows were left out is a part, until a full one comes", () => {
    const c = new Connections();
    c.merge(columns([{ id: "1" }], { full: true, omitted: 3 }));
    c.merge(columns([{ id: "2" }]));
    expect(c.partial).toBe(true);
    c.merge(columns([{ id: "1" }], { full: true }));
    expect(c.partial).toBe(false);
  });

  test("single packets that nobody answers stand below all who talk", () => {
    const c = new Connections();
    c.merge(columns([
      { id: "flood", packetsUp: 1, packetsDown: 0, rateUp: 54 },
      { id: "silent", packetsUp: 8, packetsDown: 9 },
      { id: "answered", packetsUp: 1, packetsDown: 1, rateUp: 10 },
      { id: "again", packetsUp: 2, packetsDown: 0, rateUp: 20 },
    ]));
    expect(c.sorted("rate", true).map((r) => r.id)).toEqual(["again", "answered", "silent", "flood"]);
  });

  test("equals stand by their last packet, then by id, so that the order is one", () => {
    const c = new Connections();
    c.merge(columns([{ id: "1", last: 1 }, { id: "2", last: 3 }, { id: "3", last: 3 }]));
    expect(c.sorted("rate", true).map((r) => r.id)).toEqual(["3", "2", "1"]);
  });

  test("a held order keeps its rows, ended ones too, and puts new ones last", () => {
    const c = new Connections();
    c.merge(columns([{ id: "1", bytes: 1 }, { id: "2", bytes: 2 }]));
    const shown = c.sorted("bytes", true);
    c.merge(columns([{ id: "3", bytes: 9 }, { id: "1", bytes: 5 }], { gone: ["2"] }));
    const held = hold(shown, c.sorted("bytes", true));
    expect(held.map((r) => r.id)).toEqual(["2", "1", "3"]);
    expect(held[0]?.gone).toBe(true);
    expect(held[1]?.bytesUp).toBe(5);
  });
});
