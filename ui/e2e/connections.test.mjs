// The list of connections, where there are more than it can show.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { talkers, writeFlood } from "./capture.mjs";
import { assertAccessible, suite } from "./rig.mjs";

suite("connections", ({ folder, open, withProgram }) => {
  const flood = join(folder, "flood.pcap");
  writeFlood(flood, 12);

  test("under a flood, who talks stands above single packets, and the list says of how many it is a part", async (t) => {
    await withProgram(["--read", flood, "--loop"], async (server) => {
      const { page, complaints, close } = await open(server.url);
      await page.waitForFunction(() => Number(document.querySelector("[role=grid]")?.getAttribute("aria-rowcount")) > 2000);
      const first = () => page.locator(".conn-space .conn-row").evaluateAll((rows) => rows
        .toSorted((a, b) => a.dataset.row - b.dataset.row).slice(0, 3).map((r) => r.children[0].textContent).toSorted());

      await t.test("talkers first", async () => {
        for (let i = 0; i < 5; i++) {
          assert.deepEqual(await first(), talkers.toSorted());
          await page.waitForTimeout(700);
        }
      });

      await t.test("n of total, the total being the server's", async () => {
        const note = (await page.locator(".connections .panel-note").first().textContent()).replaceAll(/[\u202f\u00a0]/g, "");
        const [, listed, total] = /^(\d+) of (\d+) open, those that moved last/.exec(note) ?? assert.fail(note);
        const live = await (await fetch(`${server.url}api/v1/connections?live=true&limit=1`)).json();
        assert.ok(Number(listed) < Number(total));
        assert.ok(Math.abs(live.total - total) < 5000 && live.total > 5000, `${total}, and the server says ${live.total}`);
        assert.equal(await page.locator("[role=grid]").getAttribute("aria-describedby"), "connections-extent");
      });

      await t.test("a bar of next to nothing is short, and the scale is said", async () => {
        await page.getByText(/^bars to 100\skbit\/s$/).waitFor();
        const shares = await page.locator(".conn-space .rate-bar").evaluateAll((all) => all.map((b) => Number.parseFloat(b.style.width)));
        assert.ok(Math.max(...shares) < 10, `bars of ${Math.max(...shares)} %`);
      });

      await t.test("it is accessible", () => assertAccessible(page));
      assert.deepEqual(complaints, []);
      await close();
    });
  });
});
