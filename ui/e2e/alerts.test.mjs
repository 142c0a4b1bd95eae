// The list of alerts: all of it can be reached, and it stands still under the hand.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { writeScans } from "./capture.mjs";
import { assertAccessible, suite, wait } from "./rig.mjs";

suite("alerts", ({ folder, open, withProgram }) => {
  const many = join(folder, "many.pcap");
  writeScans(many, 130, 0.05, 0, 90);
  const goesOn = join(folder, "goes-on.pcap");
  writeScans(goesOn, 130, 0.05, 0, 90, 400);
  const few = join(folder, "few.pcap");
  writeScans(few, 5, 1, 0, 90);
  const slow = join(folder, "slow.pcap");
  writeScans(slow, 12, 3, 2, 90);

  /** Waits until the API has so many alerts. */
  async function raised(server, n) {
    for (;;) {
      const { items, next } = await (await fetch(`${server.url}api/v1/alerts?limit=500`)).json();
      assert.equal(next, null);
      if (items.length >= n) return items;
      await wait(100);
    }
  }

  const items = (page) => page.locator(".alert-list .alert");
  const openTile = (page) => page.locator(".tile", { has: page.getByRole("heading", { name: "Open alerts" }) });

  test("the strip of an open alert's severity stays beside its head under the pointer", async () => {
    await withProgram(["--read", few], async (server) => {
      await raised(server, 5); // none comes between
      const { page, complaints, close } = await open(server.url);
      const head = items(page).first().locator(".alert-head");
      await head.click();
      await head.hover();
      const [shadow, background] = await head.evaluate((e) => [getComputedStyle(e).boxShadow, getComputedStyle(e).backgroundColor]);
      assert.notEqual(background, "rgba(0, 0, 0, 0)", "the head is not hovered");
      assert.match(shadow, /3px 0px 0px 0px inset/);
      assert.deepEqual(complaints, []);
      await close();
    });
  });

  test("older alerts are reached by a button and by scrolling; what goes on is counted by the server", async (t) => {
    await withProgram(["--read", many], async (server) => {
      const all = await raised(server, 130);
      assert.ok(all.every((a) => a.state === "open"));
      const { page, complaints, close } = await open(server.url);
      await items(page).nth(99).waitFor();

      await t.test("the part that is loaded is not taken for all", async () => {
        assert.equal(await items(page).count(), 100);
        await page.getByText("130 open; latest 100 listed").waitFor();
        await openTile(page).filter({ hasText: /130.*130 high/ }).waitFor(); // the last of them rise a moment after they are raised
        await assertAccessible(page);
      });

      await t.test("the button loads what follows and goes there", async () => {
        await page.getByRole("button", { name: "Load older alerts" }).focus();
        await page.keyboard.press("Enter");
        await page.getByText("130 open; all 130 listed").waitFor();
        assert.equal(await items(page).count(), 130);
        assert.equal(await page.getByRole("button", { name: "Load older alerts" }).count(), 0);
        const ids = await items(page).evaluateAll((list) => list.map((a) => a.dataset.alert));
        assert.deepEqual(ids, all.map((a) => a.id));
        await page.waitForFunction(() => document.activeElement.closest(".alert") === document.querySelectorAll(".alert-list .alert")[100]);
      });

      await t.test("so does scrolling to the end", async () => {
        await page.reload();
        await items(page).nth(99).waitFor();
        const box = await page.locator(".alert-scroll").boundingBox();
        await page.mouse.move(box.x + 50, box.y + 50);
        while (await items(page).count() < 130) {
          await page.mouse.wheel(0, 2000);
          await wait(50);
        }
      });

      assert.deepEqual(complaints, []);
      await close();
    });
  });

  test("a connection opens its alert though it is not loaded", async () => {
    await withProgram(["--read", goesOn], async (server) => {
      const oldest = (await raised(server, 130)).at(-1);
      const { page, complaints, close } = await open(server.url);
      await page.getByText("130 open; latest 100 listed").waitFor();
      await page.getByRole("button", { name: "Last" }).click(); // the scan that went on is the latest
      const mark = page.getByRole("button", { name: "Open its alert" });
      const row = page.locator(".conn-row", { hasText: `${oldest.src_ip}:`, has: mark }).first();
      await row.getByRole("button", { name: "Open its alert" }).click();
      const linked = page.getByRole("region", { name: "The alert of the connection" });
      await linked.locator(".detail").waitFor();
      assert.match(await linked.textContent(), /not in the part of the list/);
      assert.equal(await linked.locator(".alert").getAttribute("data-alert"), oldest.id);
      assert.equal(await page.locator(".alert-list[aria-label=Alerts] .alert").count(), 100);
      await assertAccessible(page);
      await page.keyboard.press("Escape");
      await linked.waitFor({ state: "detached" });
      await page.getByRole("button", { name: "Load older alerts" }).scrollIntoViewIfNeeded();
      await items(page).nth(129).waitFor();
      await row.getByRole("button", { name: "Open its alert" }).click();
      await page.locator(`.alert.expanded[data-alert="${oldest.id}"]`).waitFor();
      assert.equal(await linked.count(), 0);
      assert.deepEqual(complaints, []);
      await close();
    });
  });

  test("a new alert moves neither the row under the pointer nor the one with the focus", async (t) => {
    await withProgram(["--read", slow], async (server) => {
      const { page, complaints, close } = await open(server.url);
      await items(page).first().waitFor();
      const order = () => items(page).evaluateAll((list) => list.map((a) => a.dataset.alert));
      const waiting = page.getByRole("button", { name: /^\d+ new alerts?/ });

      await t.test("pointed at", async () => {
        await items(page).first().hover();
        await wait(100);
        const [ids, box] = [await order(), await items(page).first().boundingBox()];
        await waiting.waitFor({ timeout: 15_000 });
        assert.deepEqual(await order(), ids);
        assert.deepEqual(await items(page).first().boundingBox(), box);
        await page.waitForFunction(() => /scanning/.test(document.querySelector("[aria-live=polite]").textContent));
        await assertAccessible(page);
        await page.mouse.move(5, 5);
        await waiting.waitFor({ state: "detached" });
        assert.ok((await order()).length > ids.length);
      });

      await t.test("with the focus", async () => {
        await page.keyboard.press("j");
        const box = await page.evaluate(() => document.activeElement.getBoundingClientRect().top);
        await waiting.waitFor({ timeout: 15_000 });
        assert.equal(await page.evaluate(() => document.activeElement.getBoundingClientRect().top), box);
        const before = (await order()).length;
        await waiting.click();
        await page.waitForFunction((n) => document.querySelectorAll(".alert-list .alert").length > n, before);
        await page.waitForFunction(() => document.activeElement === document.querySelector(".alert-head"));
      });

      assert.deepEqual(complaints, []);
      await close();
    });
  });

  test("messages do not push the page down", async () => {
    await withProgram(["--read", slow], async (server) => {
      const { page, close } = await open(server.url);
      await items(page).first().waitFor();
      const tops = () => page.evaluate(() => [".tiles", ".plot", ".alert-bar", ".alert", ".conn-head"].map((s) => document.querySelector(s).getBoundingClientRect().top));
      const before = await tops();
      await page.keyboard.press("p");
      await page.getByText("Paused", { exact: true }).waitFor();
      assert.deepEqual(await tops(), before);
      await server.kill();
      await page.getByText("Connection lost").waitFor();
      assert.deepEqual(await tops(), before);
      await close();
    });
  });

  test("by keyboard: skip links first, one stop for the list, arrows within", async (t) => {
    await withProgram(["--read", few], async (server) => {
      await raised(server, 5);
      const { page, close } = await open(server.url);
      await items(page).nth(4).waitFor();
      const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.closest("[data-alert]")?.dataset.alert || document.activeElement.textContent);

      await t.test("skip links", async () => {
        for (const [link, target] of [["Skip to alerts", "alerts-title"], ["Skip to connections", "connections-title"], ["Skip to the chart", "traffic-title"]]) {
          await page.keyboard.press("Tab");
          assert.equal(await focused(), link);
          assert.ok(await page.getByRole("link", { name: link }).evaluate((a) => a.getBoundingClientRect().height >= 24));
          if (target === "alerts-title") await assertAccessible(page);
        }
        await page.keyboard.press("Shift+Tab");
        await page.keyboard.press("Shift+Tab");
        await page.keyboard.press("Enter");
        assert.equal(await focused(), "alerts-title");
      });

      await t.test("the list", async () => {
        const ids = await items(page).evaluateAll((list) => list.map((a) => a.dataset.alert));
        assert.equal(await page.locator(".alert-head[tabindex='0']").count(), 1);
        await page.locator(".alert-head[tabindex='0']").focus();
        assert.equal(await focused(), ids[0]);
        for (const [key, at] of [["ArrowDown", 1], ["End", 4], ["ArrowUp", 3], ["Home", 0], ["j", 1], ["k", 0], ["End", 4]]) {
          await page.keyboard.press(key);
          assert.equal(await focused(), ids[at], key);
        }
        await page.keyboard.press("Tab");
        assert.notEqual(await page.evaluate(() => document.activeElement.className), "alert-head");
        await page.keyboard.press("Shift+Tab");
        assert.equal(await focused(), ids[4]);
      });

      await close();
    });
  });

  // WCAG 2.2, 2.5.8. A box is as large as its label.
  test("what can be hit is 24 pixels high and wide", async () => {
    await withProgram(["--read", few], async (server) => {
      await raised(server, 5);
      for (const width of [1440, 390]) {
        const { page, close } = await open(server.url, { viewport: { width, height: 900 } });
        await items(page).first().locator(".alert-head").click();
        await page.getByRole("button", { name: "This is normal…" }).click();
        const small = async () => page.evaluate(() => [...document.querySelectorAll("button, select, input")].filter((e) => e.checkVisibility()).map((e) => [e, (e.type === "checkbox" ? e.closest("label") : e).getBoundingClientRect()])
          .filter(([, r]) => r.width < 24 || r.height < 24).map(([e, r]) => `${e.textContent || e.id} ${r.width} × ${r.height}`));
        assert.deepEqual(await small(), []);
        assert.ok(await page.locator(".conn-head button").count() > 3);
        await page.getByRole("button", { name: "Pause" }).click();
        assert.deepEqual(await small(), []);
        await close();
      }
    });
  });
});
