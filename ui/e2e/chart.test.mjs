// The chart when the page is opened: filled with what the server has kept, and hatched where nobody knows.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { writeCapture } from "./capture.mjs";
import { suite, wait } from "./rig.mjs";

suite("the chart", ({ folder, open, withProgram }) => {
  const capture = join(folder, "made-up.pcap");
  writeCapture(capture, 8);

  /** The share of the plot's columns that show traffic, of those from one share of the width to another. */
  const filled = (page, from, to) => page.evaluate(([a, b]) => {
    const c = document.querySelector("canvas");
    const [x, w] = [Math.round(a * c.width), Math.round((b - a) * c.width)];
    const bottom = c.getContext("2d").getImageData(x, c.height - 1, w, 1).data;
    const style = getComputedStyle(c);
    const wanted = [0, 1, 2, 3, 4].map((i) => style.getPropertyValue(`--series-${i}`).trim());
    let n = 0;
    for (let i = 0; i < w; i++) {
      const color = `#${[0, 1, 2].map((k) => bottom[4 * i + k].toString(16).padStart(2, "0")).join("")}`;
      n += wanted.includes(color) ? 1 : 0;
    }
    return n / w;
  }, [from, to]);

  /** How many columns are lines of the hatching before the earliest numbers, and how many pixels of its top row are drawn at all. */
  const hatching = (page) => page.evaluate(() => {
    const c = document.querySelector("canvas");
    const top = c.getContext("2d").getImageData(0, 0, c.width, 1).data;
    const before = getComputedStyle(c).getPropertyValue("--before").trim();
    const want = [1, 3, 5].map((i) => Number.parseInt(before.slice(i, i + 2), 16));
    let n = 0;
    for (let x = 0; x < c.width; x++) n += top[4 * x + 3] === 255 && want.every((v, i) => top[4 * x + i] === v) ? 1 : 0;
    return n / c.width;
  });

  test("is filled from the server's history, after a reload too", async (t) => {
    await withProgram(["--read", capture, "--loop"], async (server) => {
      await wait(12_000);
      const { page, complaints, close } = await open(server.url);
      for (const round of ["opened", "loaded again"]) {
        await t.test(round, async () => {
          await page.locator(".app[data-state=live]").waitFor();
          // From 12 s ago until 4 s ago: 80 % to 93 % of the width.
          await page.waitForFunction(() => document.querySelector("canvas").getAttribute("aria-label").includes("mean"));
          while (await filled(page, 0.83, 0.92) < 0.98) await wait(100);
          assert.equal(await page.getByText("before this page was opened").count(), 0);
          await page.getByText("nothing was watched").waitFor();
          assert.ok(await hatching(page) > 0.1, "the time before the program's start is not hatched");
          while (await filled(page, 0.85, 0.98) < 0.98) await wait(100); // the last seconds before it was opened
        });
        await page.reload();
      }

      await t.test("what the history does not tell apart is said to be unknown", async () => {
        await page.locator(".app[data-state=live]").waitFor();
        while (await filled(page, 0.83, 0.92) < 0.98) await wait(100);
        await page.getByRole("button", { name: "packets/s" }).click();
        const box = await page.locator("canvas").boundingBox();
        await page.mouse.move(box.x + box.width * 0.85, box.y + 40);
        await page.locator(".legend-item", { hasText: "all protocols" }).waitFor();
        assert.match(await page.locator(".legend-item", { hasText: "TCP" }).textContent(), /–$/);
        await page.getByRole("button", { name: "View as table" }).click();
        await page.locator(".traffic-table td", { hasText: "p/s" }).first().waitFor();
      });

      assert.deepEqual(complaints.filter((c) => !c.includes("willReadFrequently")), []); // this test's own reading
      await close();
    });
  });

  test("is hatched from the first picture on where the server has no history either", async () => {
    await withProgram(["--read", capture, "--loop"], async (server) => {
      const { page, close } = await open("about:blank");
      await page.route("**/api/v1/series*", (route) => route.abort());
      await page.goto(server.url);
      await page.locator(".app[data-state=live]").waitFor();
      await page.getByText("before this page was opened").waitFor();
      await page.waitForFunction(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true)))));
      assert.ok(await hatching(page) > 0.15, "the time before the page is not hatched");
      await close();
    });
  });

  test("a page that was away has no gap where the server has watched", async () => {
    await withProgram(["--read", capture, "--loop"], async (server) => {
      const { page, close } = await open("about:blank");
      await page.addInitScript(() => {
        const Native = window.WebSocket;
        window.WebSocket = class extends Native {
          constructor(url) {
            super(url);
            window.cut = () => this.close();
          }
        };
      });
      await page.goto(server.url);
      await page.locator(".app[data-state=live]").waitFor();
      await wait(3000);
      await page.context().setOffline(true);
      await page.evaluate(() => window.cut());
      await wait(5000);
      assert.ok(await filled(page, 0.95, 0.99) < 0.1);
      await page.context().setOffline(false);
      await page.locator(".app[data-state=live]").waitFor({ timeout: 30_000 });
      while (await filled(page, 0.9, 0.99) < 0.98) await wait(100);
      await close();
    });
  });
});
