import { describe, expect, test } from "vitest";
import { history, stats } from "./fixtures.ts";
import { binMs, gapMs, notTold, part, total, Traffic, windowMs } from "./traffic.ts";

/** Counters after so many bytes of TCP. */
function tcp(bytes: number, packets = bytes / 100) {
  return stats({ packets, bytes, by_proto: { TCP: { packets, bytes } } });
}

describe("traffic", () => {
  test("what has come is spread over the time in which it came, and none is lost", () => {
    const t = new Traffic();
    t.add(tcp(0), 10_000);
    t.add(tcp(1000), 11_000);
    for (let at = 10_000; at < 11_000; at += binMs) expect(t.ratesAt(at, "bytes")?.[0]).toBeCloseTo(1000);
    expect(t.mean(10_000, 11_000, "packets")?.[0]).toBeCloseTo(10);
  });

  test("many readings within a bin add up", () => {
    const t = new Traffic();
    for (let i = 0; i <= 60; i++) t.add(tcp(i * 160), 10_000 + i * 16);
    expect(t.mean(10_000, 10_800, "bytes")?.[0]).toBeCloseTo(10_000);
  });

  test("the first reading is where counting begins", () => {
    const t = new Traffic();
    t.add(tcp(1e9), 10_000);
    expect(t.ratesAt(9_999, "bytes")).toBeNull();
    expect(t.firstAt).toBe(10_000);
  });

  test("protocols go to their series", () => {
    const t = new Traffic();
    const volume = (n: number) => ({ packets: n, bytes: n * 10 });
    t.add(stats(), 10_000);
    t.add(stats({
      packets: 15,
      by_proto: { TCP: volume(1), UDP: volume(2), ICMP: volume(1), ICMPv6: volume(2), ARP: volume(4), other_ip: volume(5) },
    }), 11_000);
    const rates = t.ratesAt(10_500, "packets");
    expect(rates?.map(Math.round)).toEqual([1, 2, 3, 9, 0]);
  });

  test("a gap is not filled", () => {
    const t = new Traffic();
    t.add(tcp(0), 10_000);
    t.add(tcp(100), 10_400);
    t.add(tcp(9_000), 10_400 + gapMs + 1);
    t.add(tcp(9_100), 10_400 + gapMs + 401);
    expect(t.ratesAt(11_000, "bytes")).toBeNull();
    expect(t.ratesAt(10_100, "bytes")?.[0]).toBeCloseTo(250);
    expect(t.ratesAt(10_400 + gapMs + 250, "bytes")?.[0]).toBeCloseTo(250);
  });

  test("counters that start again are no traffic, neither forwards nor backwards", () => {
    const t = new Traffic();
    t.add(tcp(5_000), 10_000);
    t.add(tcp(10), 10_500);
    expect(t.ratesAt(10_100, "bytes")).toBeNull();
    t.add(tcp(110), 11_000);
    expect(t.ratesAt(10_700, "bytes")?.[0]).toBeCloseTo(200);
  });

  test("time that goes back is left out", () => {
    const t = new Traffic();
    t.add(tcp(0), 10_000);
    t.add(tcp(100), 9_000);
    expect(t.lastAt).toBe(9_000);
    expect(t.mean(8_000, 12_000, "bytes")).toBeNull();
  });

  test("a bin's place is used again after the window, without what was in it", () => {
    const t = new Traffic();
    let bytes = 0;
    for (let at = 0; at <= 3 * windowMs; at += 1000) t.add(tcp((bytes += 500)), at);
    expect(t.mean(3 * windowMs - windowMs, 3 * windowMs, "bytes")?.[0]).toBeCloseTo(500);
    expect(t.ratesAt(1000, "bytes")).toBeNull();
  });

  test("the peak is found with its time", () => {
    const t = new Traffic();
    t.add(tcp(0), 0);
    t.add(tcp(100), 1000);
    t.add(tcp(10_100), 2000);
    t.add(tcp(10_200), 3000);
    const peak = t.peak(3000, "bytes");
    expect(peak.rate).toBeCloseTo(10_000);
    expect(peak.at).toBeGreaterThanOrEqual(1000);
    expect(peak.at).toBeLessThan(2000);
  });

  test("what has changed is told once", () => {
    const t = new Traffic();
    t.add(tcp(0), 10_000);
    t.takeDirty();
    t.add(tcp(1), 10_100);
    expect(t.takeDirty()).toBe(10_000);
    expect(t.takeDirty()).toBe(Number.POSITIVE_INFINITY);
  });

  test("a copy stands, whatever comes later", () => {
    const t = new Traffic();
    t.add(tcp(0), 0);
    t.add(tcp(1000), 1000);
    const held = t.copy();
    let bytes = 1000;
    for (let at = 2000; at <= 3 * windowMs; at += 1000) t.add(tcp((bytes += 9_000)), at);
    expect(held.ratesAt(500, "bytes")?.[0]).toBeCloseTo(1000);
    expect(held.lastAt).toBe(1000);
  });

  test("the present is the last whole second, for whoever asks within a bin", () => {
    const t = new Traffic();
    for (let i = 0; i <= 20; i++) t.add(tcp(i * i * 100), i * binMs);
    const asked = [4000, 4050, 4199].map((now) => t.latest(now, "bytes")?.[0]);
    expect(new Set(asked).size).toBe(1);
    expect(asked[0]).toBeCloseTo(17_500);
  });

  test("a total is the sum", () => expect(total([1, 2, 3, 4, 5])).toBe(15));

  test("the server's history fills what was before the page, its gaps stay gaps", () => {
    const t = new Traffic();
    t.add(tcp(0), 60_500);
    t.add(tcp(500), 61_000);
    t.add(tcp(1000), 61_500);
    t.fill(history(50_000, [8000, null, 4000, 4000, 4000, 4000, 4000, 4000, 4000, 4000, 4000, 4000]), 61_500);
    expect(t.hasHistory).toBe(true);
    expect(t.firstAt).toBe(50_000);
    expect(t.ratesAt(50_900, "bytes")).toEqual([8000, 800, 0, 0, 80]);
    expect(t.ratesAt(50_900, "packets")).toEqual([0, 0, 0, 0, 8]);
    expect(t.ratesAt(51_500, "bytes")).toBeNull();
    expect(t.ratesAt(52_500, "bytes")?.[0]).toBe(4000);
    expect(t.ratesAt(60_900, "bytes")?.[0]).toBeCloseTo(1000); // its own numbers are finer
    expect(t.takeDirty()).toBe(Number.NEGATIVE_INFINITY);
  });

  test("a second of the history that is not written to its end is left for later", () => {
    const t = new Traffic();
    t.add(tcp(0), 60_500);
    t.fill(history(57_000, [4000, 4000, 4000]), 60_500);
    expect(t.ratesAt(57_500, "bytes")?.[0]).toBe(4000);
    expect(t.ratesAt(58_500, "bytes")).toBeNull();
    t.fill(history(57_000, [4000, 4000, 4000, 4000]), 63_500);
    expect(t.ratesAt(58_500, "bytes")?.[0]).toBe(4000);
    expect(t.ratesAt(60_100, "bytes")?.[0]).toBe(4000);
  });

  test("a history without points fills nothing", () => {
    const t = new Traffic();
    t.add(tcp(0), 60_500);
    t.fill(history(50_000, [null, null, null]), 60_500);
    expect(t.hasHistory).toBe(false);
    expect(t.firstAt).toBe(60_500);
  });

  test("a history older than the window does not push out what is newer", () => {
    const t = new Traffic();
    t.add(tcp(0), 100_000);
    t.add(tcp(1000), 101_000);
    t.fill(history(10_000, Array.from({ length: 80 }, () => 4000)), 101_000);
    expect(t.ratesAt(100_500, "bytes")?.[0]).toBeCloseTo(1000);
  });

  test("what the history does not tell apart is no zero", () => {
    expect([0, 1, 2, 3].map((i) => part([1, 2, 0, 0, 5], i, "bytes"))).toEqual([1, 2, null, null]);
    expect([0, 3].map((i) => part([0, 0, 0, 0, 5], i, "packets"))).toEqual([null, null]);
    expect(part([0, 0, 0, 0, 0], 2, "packets")).toBe(0);
    expect(notTold([1, 2, 0, 0, 5], "bytes")).toEqual({ name: "ICMP, other", rate: 5 });
    expect(notTold([1, 2, 3, 4, 0], "bytes")).toBeNull();
  });

  test("from the first numbers on, all before them has to be drawn anew", () => {
    const t = new Traffic();
    t.add(tcp(0), 10_000);
    expect(t.takeDirty()).toBe(Number.NEGATIVE_INFINITY);
  });
});

test("a history that is all there is takes the place of what was known, and says how far it goes", () => {
  const t = new Traffic();
  t.replace(history(100_000, [1000, 2000, 3000, null]), 106_500);
  expect(t.latest(107_000, "bytes")?.[0]).toBeCloseTo(3000);
  t.replace(history(101_000, [2000, 9000, 500]), 106_500);
  expect(t.latest(107_000, "bytes")?.[0]).toBeCloseTo(500);
  expect(t.ratesAt(102_100, "bytes")?.[0]).toBeCloseTo(9000);
  expect(t.ratesAt(100_100, "bytes")).toBeNull();
  t.replace(history(101_000, [2000, 9000, 500]), 150_000);
  expect(t.latest(150_000, "bytes")).toBeNull();
  t.replace(null, 0);
  expect([t.latest(107_000, "bytes"), t.hasHistory]).toEqual([null, false]);
});
