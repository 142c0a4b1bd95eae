import { describe, expect, test } from "vitest";
import { columns, stats } from "../state/fixtures.ts";
import { decode, ProtocolError } from "./messages.ts";
import { backoff } from "./socket.ts";

const envelope = { v: 1, epoch: "e", seq: 1, ts_us: 1 };
const encode = (m: object): string => JSON.stringify({ ...envelope, ...m });

describe("decode", () => {
  test("knows every kind of message", () => {
    for (const type of ["hello", "resync", "bye"]) expect(decode(encode({ type, data: {} }))?.type).toBe(type);
    expect(decode(encode({ type: "stats", data: stats() }))?.type).toBe("stats");
    expect(decode(encode({ type: "connection", data: columns([{ id: "1" }]) }))?.type).toBe("connection");
    expect(decode(encode({ type: "snapshot", data: {} }))?.type).toBe("snapshot");
    expect(decode(encode({ type: "alert", data: { id: "a", rev: 1, summary: "s" } }))?.type).toBe("alert");
  });

  test("passes over one that is of a later version of the protocol's list", () => {
    expect(decode(encode({ type: "weather", data: {} }))).toBeNull();
  });

  test.each([
    ["bytes", new ArrayBuffer(2)],
    ["no JSON", "{"],
    ["no object", "[]"],
    ["another version", JSON.stringify({ ...envelope, v: 2, type: "stats", data: {} })],
    ["no data", encode({ type: "stats" })],
    ["numbers without drops", encode({ type: "stats", data: { ...stats(), drops: null } })],
    ["columns of different length", encode({ type: "connection", data: { ...columns([{ id: "1" }]), sni: [] } })],
    ["an alert without id", encode({ type: "alert", data: { rev: 1, summary: "" } })],
  ])("refuses %s", (_, raw) => expect(() => decode(raw)).toThrow(ProtocolError));
});

test("waits double from a quarter of a second to ten, with chance in them", () => {
  expect([1, 2, 3, 6, 7, 50].map((n) => backoff(n, 1))).toEqual([250, 500, 1000, 8000, 10_000, 10_000]);
  expect(backoff(1, 0)).toBe(125);
  expect(backoff(50, 0)).toBe(5000);
});
