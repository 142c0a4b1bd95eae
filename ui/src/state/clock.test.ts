import { describe, expect, test } from "vitest";
import { captureNow, Clock, isPresent } from "./clock.ts";

describe("the page's clock", () => {
  test("is the server's, by the least delay", () => {
    const c = new Clock();
    c.hear(1_000, 5_100);
    c.hear(2_000, 6_010);
    c.hear(3_000, 7_500);
    expect(c.now(8_010)).toBe(4_000);
    c.forget();
    expect(c.now(8_010)).toBe(8_010);
  });

  test("stands while it is held, whatever comes", () => {
    const c = new Clock();
    c.hear(1_000, 1_000);
    c.hold(5_000);
    c.hear(9_000, 9_500);
    c.hold(10_000);
    expect(c.now(60_000)).toBe(5_000);
    c.release();
    expect(c.now(60_000)).toBe(60_000);
  });

  test("follows a capture that is ahead of it, and no other", () => {
    expect(captureNow(1_000, 90_000)).toBe(90_000);
    expect(captureNow(1_000, 500)).toBe(1_000);
    expect(captureNow(1_000, Number.NaN)).toBe(1_000);
    expect(isPresent(1_000, 90_000)).toBe(false);
    expect(isPresent(1_000, 1_040)).toBe(true);
    expect(isPresent(1_000, Number.NaN)).toBe(true);
  });
});
