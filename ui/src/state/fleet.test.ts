import { describe, expect, test } from "vitest";
import type { Sensor } from "../api/schema.ts";
import { arrange, isFleet, statsOf } from "./fleet.ts";
import { stats } from "./fixtures.ts";
import { losses } from "./status.ts";

function sensor(name: string, over: Partial<Sensor> = {}): Sensor {
  return {
    name, status: "ok", version: "1", source: "eth0", seen_ts: null, clock_ts: null, packets: 10, bytes: 1000, packet_rate: 1, byte_rate: 100, active: 2, opened: 3,
    lost: 0, interfaces: [], detector: "hst", learning: 0.5, ...over,
  };
}

test("a console is told from a sensor, whatever an interface is called", () => {
  expect(isFleet(null)).toBe(false);
  expect(isFleet(stats({ sensor: "", source: "fleet" }))).toBe(true);
  expect(isFleet(stats({ sensor: "s", source: "fleet" }))).toBe(false);
  expect(isFleet(stats({ sensor: "", source: "eth0" }))).toBe(false);
});

describe("the list of sensors", () => {
  test("those that are not well stand first", () => {
    const { listed } = arrange([sensor("c"), sensor("b", { status: "twice" }), sensor("a"), sensor("d", { status: "silent" })], "");
    expect(listed.map((s) => s.name)).toEqual(["b", "d", "a", "c"]);
  });

  test("is bounded, and has the one that was chosen all the same", () => {
    const all = Array.from({ length: 1000 }, (_, i) => sensor(`s${String(i).padStart(4, "0")}`));
    const { listed, all: n } = arrange(all, "s0900");
    expect([listed.length, n, listed.at(-1)?.name]).toEqual([201, 1000, "s0900"]);
  });

  test("names those that are heard and that nobody judges", () => {
    const all = [sensor("a", { detector: "" }), sensor("b"), sensor("c", { detector: "", status: "silent" })];
    expect(arrange(all, "").unjudged).toEqual(["a"]);
  });
});

test("the numbers of one sensor are its own", () => {
  const all = stats({ sensor: "", source: "fleet", packets: 500, drops: [{ stage: "kernel", reason: "ring_full", count: 40, unit: "packet", effect: "unseen" }] });
  const one = statsOf(sensor("a", { lost: 7, detector: "" }), all);
  expect(one).toMatchObject({ sensor: "a", source: "eth0", packets: 10, detector: { name: "" }, connections: { active: 2, opened: 3 } });
  expect(losses(one)).toEqual([{ where: "sensor", why: "lost", count: 7 }]);
});
