import { describe, expect, test } from "vitest";
import { endpoint, featureName, printable, title } from "./names.ts";
import { absolute, age, ago, duration, parseTime } from "./time.ts";
import { bitsPerSecond, bytes, count, measured, measuredRange, niceScale, percent, score, short, si, text } from "./units.ts";

/** Spaces of every width as plain ones. */
function plain(s: string): string {
  return s.replaceAll(/[\u00a0\u2009\u202f]/g, " ");
}

describe("numbers", () => {
  test.each([
    [0, "0 B"],
    [7, "7 B"],
    [999, "999 B"],
    [999.4, "999 B"],
    [999.6, "1.00 kB"],
    [1000, "1.00 kB"],
    [12_345, "12.3 kB"],
    [999_499, "999 kB"],
    [999_500, "1.00 MB"],
    [123_456_789, "123 MB"],
    [2 ** 53, "9.01 PB"],
    [1e21, "1000 EB"],
    [-1500, "−1.50 kB"],
    [0.5, "0.50 B"],
    [Number.NaN, "– B"],
  ])("%d bytes are %s", (n, want) => expect(plain(text(si(n, "B")))).toBe(want));

  test("rates are in bits", () => expect(plain(text(bitsPerSecond(125_000)))).toBe("1.00 Mbit/s"));
  test("sizes are in bytes", () => expect(plain(bytes(1536))).toBe("1.54 kB"));
  test("an axis has no zeros at the end", () => {
    expect(short(si(2_000_000, "bit/s"))).toEqual({ value: "2", unit: "Mbit/s" });
    expect(short(si(2_500_000, "bit/s")).value).toBe("2.5");
    expect(short(si(100, "p/s")).value).toBe("100");
  });
  test.each([
    [0, "0"],
    [999, "999"],
    [1000, "1 000"],
    [1_234_567, "1 234 567"],
  ])("the count %d is %s", (n, want) => expect(plain(count(n))).toBe(want));
  test.each([
    [0, "0 %"],
    [0.004, "< 1 %"],
    [0.5, "50 %"],
    [0.998, "> 99 %"],
    [1, "100 %"],
  ])("the share %d is %s", (n, want) => expect(plain(percent(n))).toBe(want));
  test.each([
    [0.7999, "0.79"],
    [0.8, "0.80"],
    [0.29, "0.29"],
    [1, "1.00"],
  ])("the score %d is not rounded over the line: %s", (n, want) => expect(score(n)).toBe(want));
  test.each([
    [412.5, "packets/s", "413 packets/s"],
    [24_750, "bytes/s", "198 kbit/s"],
    [7.981, "bit/byte", "7.98 bit/byte"],
    [800, "ports", "800 ports"],
    [3, "", "3"],
  ])("the value %d %s is %s", (v, unit, want) => expect(plain(measured(v, unit))).toBe(want));
  test("a range names a common unit once", () => {
    expect(plain(measuredRange(1, 6, "ports"))).toBe("1 – 6 ports");
    expect(plain(measuredRange(100, 1e6, "bytes/s"))).toBe("800 bit/s – 8.00 Mbit/s");
    expect(plain(measuredRange(0, 0, "hosts"))).toBe("0 hosts");
  });
  test("a scale holds its value, and is at most two and a half times it", () => {
    for (let n = 1e-3; n < 1e15; n *= 1.37) {
      const { top, steps } = niceScale(n);
      expect(top).toBeGreaterThanOrEqual(n);
      expect(top / n).toBeLessThanOrEqual(2.5000001);
      expect(steps).toBeGreaterThanOrEqual(4);
    }
    expect(niceScale(0).top).toBeGreaterThan(0);
    expect(niceScale(Number.NaN).top).toBeGreaterThan(0);
  });
});

describe("times", () => {
  test.each([
    [0, "now"],
    [999, "now"],
    [59_999, "59 s"],
    [60_000, "1 min"],
    [3_599_999, "59 min"],
    [86_400_000, "1 d"],
    [Number.NaN, "–"],
  ])("an age of %d ms is %s", (ms, want) => expect(plain(age(ms))).toBe(want));
  test("an age in a sentence", () => {
    expect(ago(500)).toBe("now");
    expect(plain(ago(12_000))).toBe("12 s ago");
  });
  test.each([
    [0.84, "0.8 s"],
    [12.7, "12 s"],
    [200, "3 min 20 s"],
    [3600, "1 h"],
    [18_240, "5 h 4 min"],
    [266_400, "3 d 2 h"],
    [-1, "–"],
  ])("%d s last %s", (s, want) => expect(plain(duration(s))).toBe(want));
  test("absolute times have their zone", () => {
    expect(absolute(Date.UTC(2026, 10, 24, 5, 41, 33, 7))).toMatch(/^2026-11-2\d \d\d:\d\d:33\.007 [+−]\d\d:\d\d$/);
    expect(absolute(Number.NaN)).toBe("unknown");
  });
  test("no time is NaN", () => expect(parseTime(null)).toBeNaN());
});

describe("names", () => {
  test("ports are told from IPv6", () => {
    expect(endpoint("192.0.2.7", 443)).toBe("192.0.2.7:443");
    expect(endpoint("2001:db8::1", 443)).toBe("[2001:db8::1]:443");
    expect(endpoint("2001:db8::1", 0)).toBe("2001:db8::1");
  });
  test("what is invisible is shown", () => {
    expect(printable("a\u202egnp.exe")).toBe("a\\u{202e}gnp.exe");
    expect(printable("a\u0000\n\u200b")).toBe("a\\u{0}\\u{a}\\u{200b}");
    expect(printable("bücher.example")).toBe("bücher.example");
    expect(printable("<b>&amp;")).toBe("<b>&amp;");
  });
  test("codes become words", () => {
    expect(title("port_scan")).toBe("Port scan");
    expect(featureName("some_new_feature")).toBe("Some new feature");
  });
});
