import { describe, expect, test } from "vitest";
import { stats } from "./fixtures.ts";
import type { Stats } from "../api/schema.ts";
import { Model } from "./model.ts";
import { bounds, calm, effectText, freshness, linkState, losses, lossesByStage, notices, silence, sourceState } from "./status.ts";

describe("freshness", () => {
  const live = { kind: "live" } as const;
  test("numbers older than two seconds are stale", () => {
    expect(freshness(live, 10_000, 11_900).kind).toBe("live");
    expect(freshness(live, 10_000, 12_500)).toEqual({ kind: "stale", seconds: 2.5 });
  });
  test("without numbers it is connecting", () => expect(freshness(live, Number.NaN, 1).kind).toBe("connecting"));
  test("a broken connection counts down", () => {
    expect(freshness({ kind: "waiting", attempt: 3, until: 5000, reason: "gone" }, 0, 3000)).toEqual({
      kind: "reconnecting", attempt: 3, seconds: 2, reason: "gone", age: 3000,
    });
    expect(freshness({ kind: "connecting", attempt: 3 }, 0, 3000)).toMatchObject({ kind: "reconnecting", seconds: 0 });
    expect(freshness({ kind: "connecting", attempt: 0 }, Number.NaN, 3000)).toEqual({ kind: "connecting" });
  });
});

describe("notices", () => {
  const drops = [
    { stage: "kernel", reason: "ring_full", count: 12_000, unit: "packet" as const, effect: "unseen" as const },
    { stage: "api", reason: "ws_client_slow", count: 0, unit: "packet" as const, effect: "unseen" as const },
  ];
  test("losses come with stage and reason", () => {
    const [n] = notices(stats({ drops }), null, 500);
    expect(n).toMatchObject({ tone: "warn", title: "Degraded" });
    expect(n?.text).toContain("500 packets lost in the last minute");
    expect(n?.text).toContain("in kernel (ring full)");
  });
  test("old losses are in the numbers, not in a notice", () => {
    expect(notices(stats({ drops }), null, 0)).toEqual([]);
    expect(losses(stats({ drops }))).toEqual([{ where: "kernel", why: "ring full", count: 12_000 }]);
    expect([...lossesByStage(stats({ drops })).keys()]).toEqual(["kernel", "api"]);
  });
  test("a full list is no loss, and is shown with its unit", () => {
    const full = stats({ drops: [
      { stage: "export", reason: "hosts_at_once", count: 1_900_000, unit: "row", effect: "unlisted" },
      { stage: "export", reason: "queue_full", count: 1, unit: "slot", effect: "unstored" },
      { stage: "kernel", reason: "ring_full", count: 0, unit: "packet", effect: "unseen" },
    ] });
    expect(losses(full)).toEqual([]);
    expect([...lossesByStage(full).values()].flat()).toEqual([]);
    expect(bounds(full).map(effectText)).toEqual([expect.stringMatching(/^1.900.000 rows not listed$/), "1 slot not stored"]);
    const m = new Model();
    const at = (t: number, s: Stats): void => void m.apply({ v: 1, epoch: "e", seq: t, ts_us: t * 1_000_000, type: "stats", data: s });
    at(1, stats());
    at(3, full);
    expect(m.recentLosses()).toBe(0);
  });
  test("what the program complains of is shown, once", () => {
    const health = {
      status: "degraded" as const, version: "1", uptime_seconds: 1, websocket_port: 0, sandbox: null,
      reasons: [{ code: "store_failing", message: "the disk is full" }, { code: "drops", message: "x" }],
    };
    expect(notices(stats(), health, 0).map((n) => n.text)).toEqual(["the disk is full"]);
  });
  test("a file that has ended says so", () => {
    expect(notices(stats({ interfaces: [{ name: "a.pcap", link: "ended", received: 0, dropped: 0 }] }), null, 0)[0]?.title).toBe("The file has ended");
  });
});

describe("silence has its reason", () => {
  test.each([
    ["a link that is down", stats({ interfaces: [{ name: "eth0", link: "down", received: 0, dropped: 0 }] }), /eth0 is down/],
    ["no packet at all", stats({ uptime_seconds: 12 }), /No packet on eth0 in 12/],
    ["just started", stats({ uptime_seconds: 1 }), /Waiting for the first packet/],
    ["a quiet link", stats({ last_packet_ts: "2026-11-24T05:41:00Z" }), /No packet on eth0 for 33/],
    ["a file at its end", stats({ interfaces: [{ name: "a.pcap", link: "ended", received: 0, dropped: 0 }] }), /has ended/],
  ])("%s", (_, s, want) => expect(silence(s, Date.parse("2026-11-24T05:41:33Z"))).toMatch(want));
  test("there is none while packets come", () => {
    expect(silence(stats({ last_packet_ts: "2026-11-24T05:41:00Z", packet_rate: 1 }), Date.parse("2026-11-24T05:41:33Z"))).toBe("");
  });
  test("calm is only where packets are seen and judged", () => {
    const live = { kind: "live" } as const;
    const detector = { ...stats().detector, name: "" };
    expect(calm(stats({ packets: 9 }), live, 1).text).toContain("Nothing abnormal so far");
    expect(calm(stats({ packets: 9, detector: { ...stats().detector, learning: 1 } }), live, 1).text).toContain("knows this network");
    expect(calm(stats(), live, 1).title).toBe("Nothing to judge: no packets");
    expect(calm(stats({ packets: 9, detector }), live, 1).title).toBe("Nothing is judged");
    const away = { kind: "reconnecting", attempt: 1, seconds: 1, reason: "", age: 9 } as const;
    expect(calm(stats({ packets: 9 }), away, 60_000).title).toMatch(/^Unknown since \d\d:\d\d:\d\d$/);
    expect(calm(stats({ packets: 9 }), { kind: "stale", seconds: 5 }, 60_000).text).not.toContain("abnormal");
    expect(calm(null, { kind: "connecting" }, Number.NaN).title).toBe("Unknown");
  });
  test("nothing is green after the end of a file, or without the server", () => {
    const live = { kind: "live" } as const;
    const away = { kind: "reconnecting", attempt: 1, seconds: 1, reason: "", age: 9 } as const;
    const ended = stats({ interfaces: [{ name: "a.pcap", link: "ended", received: 0, dropped: 0 }] });
    expect(linkState(live, false, stats())).toEqual(["good", "live"]);
    expect(linkState(live, false, ended)).toEqual(["info", "ended"]);
    expect(linkState(live, true, stats())).toEqual(["info", "paused"]);
    expect(sourceState("up", live)).toEqual(["good", "up"]);
    expect(sourceState("up", away)).toEqual(["info", "unknown"]);
    expect(sourceState("up", { kind: "stale", seconds: 3 })).toEqual(["info", "unknown"]);
  });
});

describe("a console of many sensors", () => {
  const fleet = (over: Partial<Stats> = {}): Stats => stats({ sensor: "", source: "fleet", interfaces: [], packets: 10, ...over });
  test("is not silent because it has no interface", () => {
    expect(silence(fleet(), 1e12)).toBe("");
    expect(silence(fleet({ packets: 0 }), 1e12)).toMatch(/^No sensor/);
  });
  test("is calm as far as its sensors are judged", () => {
    expect(calm(fleet(), { kind: "live" }, 1, ["a\u202eb", "c", "d", "e"]).text).toBe("Nothing abnormal where it is judged. Nobody judges a\\u{202e}b, c, d and 1 more.");
    expect(calm(fleet({ detector: { ...fleet().detector, name: "" } }), { kind: "live" }, 1).text).toMatch(/^No detector of any sensor/);
  });
});
