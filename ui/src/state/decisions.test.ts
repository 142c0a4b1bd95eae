import { describe, expect, test } from "vitest";
import type { Alert } from "../api/schema.ts";
import { aspects, exceptionAbout, expiry, scope } from "./decisions.ts";
import { alert } from "./fixtures.ts";

const peers = (...names: string[]): Alert["peers"] => ({ total: names.length, top: names.map((name) => ({ name, count: 1 })) });
const about = (a: Alert): object => exceptionAbout(aspects(a).filter((x) => x.chosen));

describe("an exception made from an alert", () => {
  test("is about both ends, the port and the kind", () => {
    expect(about(alert({ peers: peers("198.51.100.7"), dst_port: 22 }))).toEqual({
      host: "192.0.2.66", peer: "198.51.100.7", port: 22, category: "port_scan",
    });
  });

  test("names no port where there is no single one", () => {
    expect(about(alert({ peers: peers("198.51.100.7") }))).toEqual({ host: "192.0.2.66", peer: "198.51.100.7", category: "port_scan" });
  });

  test("names the one who does it to many", () => {
    expect(about(alert({ peers: peers("198.51.100.7", "198.51.100.8") }))).toEqual({ host: "192.0.2.66", category: "port_scan" });
  });

  test("names the one to whom many do it", () => {
    expect(about(alert({ category: "flood", peers: peers("192.0.2.66", "192.0.2.67") }))).toEqual({ host: "198.51.100.7", category: "flood" });
  });

  test("is about what was chosen", () => {
    expect(exceptionAbout(aspects(alert()).filter((x) => x.name === "category"))).toEqual({ category: "port_scan" });
    expect(exceptionAbout([])).toEqual({});
  });

  test("says which of its ends is the peer", () => {
    expect(scope({ host: "192.0.2.66", peer: "198.51.100.7", port: 22, reason: "r" })).toBe("192.0.2.66 ↔ peer 198.51.100.7, port 22");
    expect(scope({ peer: "198.51.100.0/24", reason: "r" })).toBe("peer 198.51.100.0/24");
  });

  test("ends after its term, or never", () => {
    expect(expiry(24, Date.UTC(2026, 0, 31, 12))).toBe("2026-02-01T12:00:00.000Z");
    expect(expiry(0, 1)).toBeNull();
  });
});
