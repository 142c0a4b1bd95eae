// The page in a real browser, against the real program.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { hostileName, writeCapture } from "./capture.mjs";
import { assertAccessible, start, suite, wait } from "./rig.mjs";

suite("the page", ({ folder, open, withProgram }) => {
  const capture = join(folder, "made-up.pcap");
  writeCapture(capture, 8);

  test("shows the running program", async (t) => {
    await withProgram(["--read", capture, "--loop"], async (server) => {
      const { page, complaints, close } = await open(server.url);

      await t.test("numbers move", async () => {
        await page.locator(".app[data-state=live]").waitFor();
        const packets = () => page.locator(".tile", { has: page.getByRole("heading", { name: "Packets", exact: true }) }).locator(".tile-note").textContent();
        const first = await packets();
        await page.waitForFunction((old) => [...document.querySelectorAll(".tile-note")].every((n) => n.textContent !== old), first);
      });

      await t.test("connections appear, and a hostile server name is only a text", async () => {
        const name = page.locator(".conn-space .sni bdi", { hasText: hostileName }).first();
        await name.waitFor();
        assert.equal(await page.locator("img").count(), 0);
        assert.equal(await page.evaluate(() => window.hostile), undefined);
      });

      await t.test("the chart is drawn, and says so in words", async () => {
        const canvas = page.locator("canvas");
        await page.waitForFunction(() => {
          const c = document.querySelector("canvas");
          const pixels = c.getContext("2d").getImageData(c.width - 60, 0, 60, c.height).data;
          return pixels.some((v, i) => i % 4 === 3 && v === 255);
        });
        await page.waitForFunction(() => /mean .*bit\/s, peak/.test(document.querySelector("canvas").getAttribute("aria-label")));
        assert.equal(await canvas.getAttribute("role"), "img");
      });

      await t.test("the scan is an alert with its sentence, announced politely", async () => {
        const alert = page.locator(".alert", { hasText: "scanning ports" });
        await alert.waitFor();
        assert.match(await alert.locator(".alert-summary").textContent(), /192\.0\.2\.66/);
        await page.waitForFunction(() => /scanning ports/.test(document.querySelector("[aria-live=polite]").textContent));
      });

      await t.test("a connection in an incident opens its alert", async () => {
        const mark = page.getByRole("button", { name: "Open its alert" }).first();
        await page.getByRole("button", { name: "Last" }).click();
        await mark.click();
        await page.locator(".alert.expanded .detail").waitFor();
        await page.keyboard.press("Escape");
        await page.locator(".detail").waitFor({ state: "detached" });
      });

      await t.test("rates are those of the server", async () => {
        await page.getByRole("button", { name: "Last" }).click(); // those that have been silent longest
        await page.mouse.move(5, 5);
        await page.waitForFunction(() => document.querySelector(".conn-space .conn-row .rate").textContent.trim() === "–");
        const { items } = await (await fetch(`${server.url}api/v1/connections?live=true&limit=500`)).json();
        assert.ok(items.some((c) => c.rate_up + c.rate_down === 0));
        await page.getByRole("button", { name: "Rate" }).click();
      });

      await t.test("an alert opens and closes by keyboard", async () => {
        await page.keyboard.press("j");
        await page.keyboard.press("Enter");
        const detail = page.locator(".detail");
        await detail.waitFor();
        const text = await detail.textContent();
        for (const part of ["score", "line 0.80", "limit", "No alert if", "Peers", "Ports", "had learned"]) {
          assert.ok(text.includes(part), `the detail does not say ${part}: ${text}`);
        }
        assert.equal(await page.locator(".reason").count() > 0, true);
        await page.keyboard.press("Escape");
        await detail.waitFor({ state: "detached" });
        assert.equal(await page.evaluate(() => document.activeElement.className), "alert-head");
      });

      await t.test("Escape in the form closes the form, not the alert", async () => {
        await page.keyboard.press("Enter");
        await page.getByRole("button", { name: "This is normal…" }).click();
        await page.getByLabel("Because").focus();
        await page.keyboard.press("Escape");
        await page.getByRole("form", { name: "This is normal" }).waitFor({ state: "detached" });
        assert.equal(await page.evaluate(() => document.activeElement.className), "alert-head");
        await page.locator(".detail").waitFor();
        await page.keyboard.press("Escape");
        await page.locator(".detail").waitFor({ state: "detached" });
      });

      await t.test("single keys can be turned off, and stay off", async () => {
        const box = page.getByRole("checkbox", { name: /^Keys/ });
        await box.uncheck();
        await page.evaluate(() => document.activeElement.blur());
        await page.keyboard.press("p");
        assert.equal(await page.getByText("Paused", { exact: true }).count(), 0);
        assert.equal(await page.evaluate(() => localStorage.getItem("netlyra.keys")), "off");
        await box.check();
        await page.evaluate(() => document.activeElement.blur());
      });

      await t.test("rows stay while somebody points at them", async () => {
        await page.hover(".conn-space .conn-row >> nth=2");
        await page.locator(".held", { hasText: "order held" }).waitFor();
        const order = () => page.locator(".conn-space .conn-row").evaluateAll((rows) => rows.slice(0, 10).map((r) => r.children[0].textContent));
        const first = await order();
        await wait(2500);
        assert.deepEqual(await order(), first);
        await page.mouse.move(5, 5);
        await page.waitForFunction(() => document.querySelector(".held").textContent === "");
      });

      await t.test("rows are read by keyboard", async () => {
        await page.locator(".conn-space .conn-row[tabindex='0']").focus();
        await page.keyboard.press("ArrowDown");
        await page.waitForFunction(() => document.activeElement.getAttribute("data-row") === "1");
        assert.equal(await page.locator("[role=grid]").getAttribute("aria-colcount"), "9");
        assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-describedby")), "connection-facts");
        assert.match(await page.locator("#connection-facts").textContent(), /→.*up, .* down, .* packets; from \d{4}-\d\d-\d\d .* to \d{4}/);
        await page.evaluate(() => document.activeElement.blur());
      });

      await t.test("a tooltip says nothing that is not written as well", async () => {
        await page.keyboard.press("j");
        await page.keyboard.press("Enter");
        await page.locator(".detail").waitFor();
        assert.match(await page.locator(".facts").textContent(), /Began\d{4}-\d\d-\d\d \d\d:\d\d/);
        assert.match(await page.locator(".foot").textContent(), /learned.*limits.*malformed packets/);
        const only = await page.evaluate(() => [...document.querySelectorAll("[title]")]
          .filter((e) => !e.closest("button") && !e.matches("bdi, time")).map((e) => e.title));
        assert.deepEqual(only, []);
        const cut = await page.evaluate(() => [...document.querySelectorAll(".detail bdi, .alert-summary bdi")]
          .filter((e) => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflow !== "visible").map((e) => e.textContent));
        assert.deepEqual(cut, []);
        await page.keyboard.press("Escape");
        await page.evaluate(() => document.activeElement.blur());
      });

      await t.test("there is a table in place of the chart", async () => {
        await page.getByRole("button", { name: "View as table" }).click();
        assert.equal(await page.locator(".traffic-table tbody tr").count(), 12);
        await page.getByRole("button", { name: "View as chart" }).click();
      });

      assert.deepEqual(complaints, []);
      await close();
    });
  });

  test("hides what is said to be normal, and shows it again", async (t) => {
    await withProgram(["--read", capture, "--loop"], async (server) => {
      const { page, complaints, close } = await open(server.url);
      const other = await open(server.url);
      const scans = (p) => p.locator(".alert", { hasText: "scanning ports" });
      const show = (name) => page.getByRole("group", { name: "Which alerts" }).getByRole("button", { name }).click();
      const form = page.getByRole("form", { name: "This is normal" });
      await scans(page).first().waitFor();
      await scans(other.page).first().waitFor();

      await t.test("it tells what it would hide before it is saved", async () => {
        await scans(page).first().locator(".alert-head").click();
        await page.getByRole("button", { name: "This is normal…" }).click();
        await form.getByText(/Hides \d+ incidents? of the list/).waitFor();
        await form.getByLabel("host 192.0.2.66").uncheck();
        await form.getByLabel("peer 198.51.100.7").uncheck();
        await form.getByLabel("category Port scan").uncheck();
        await form.getByText("Choose at least one.").waitFor();
        assert.ok(await form.getByRole("button", { name: "Hide these" }).isDisabled());
        await form.getByLabel("host 192.0.2.66").check();
        await form.getByText(/Hides \d+ incidents? of the list/).waitFor();
        assert.ok(await scans(page).count() > 0, "the preview has hidden something");
        await assertAccessible(page);
      });

      await t.test("saved, it hides them here and on other pages", async () => {
        await form.getByLabel("Because").fill("our <b>own</b> scanner");
        await form.getByLabel("For").selectOption("1 week");
        await form.getByRole("button", { name: "Hide these" }).click();
        await scans(page).first().waitFor({ state: "detached" });
        await scans(other.page).first().waitFor({ state: "detached" });
      });

      await t.test("hidden ones are kept, with their reason", async () => {
        await show("Hidden");
        await scans(page).first().locator(".alert-head").click();
        await page.getByText("our <b>own</b> scanner").waitFor();
        await page.getByRole("button", { name: "Show in the list" }).waitFor();
        await assertAccessible(page);
      });

      await t.test("removed, the exception gives them back", async () => {
        await show("Exceptions");
        const exception = page.locator(".exception", { hasText: "our <b>own</b> scanner" });
        assert.match(await exception.textContent(), /192\.0\.2\.66.*[1-9]\d* hidden.*[67]\s?d left/);
        await assertAccessible(page);
        await exception.getByRole("button", { name: "Remove" }).click();
        await page.getByText("No exceptions").waitFor();
        await show("List");
        await scans(page).first().waitFor();
        await scans(other.page).first().waitFor();
      });

      assert.deepEqual([...complaints, ...other.complaints], []);
      await close();
      await other.close();
    });
  });

  test("is accessible in both themes", async (t) => {
    await withProgram(["--read", capture, "--loop"], async (server) => {
      for (const colorScheme of ["dark", "light"]) {
        const { page, close } = await open(server.url, { colorScheme, reducedMotion: "reduce" });
        await page.locator(".alert").first().waitFor();
        await page.keyboard.press("j");
        await page.keyboard.press("Enter");
        await page.locator(".detail").waitFor();
        await t.test(`${colorScheme}, chart`, () => assertAccessible(page));
        await page.getByRole("button", { name: "View as table" }).click();
        await t.test(`${colorScheme}, table, paused`, async () => {
          await page.getByRole("button", { name: "Pause" }).click();
          await assertAccessible(page);
        });
        await t.test(`${colorScheme}, the button changes the theme`, async () => {
          await page.getByRole("button", { name: colorScheme === "dark" ? "Light colours" : "Dark colours" }).click();
          assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), colorScheme === "dark" ? "light" : "dark");
        });
        await close();
      }
    });
  });

  test("fits a small window", async () => {
    await withProgram(["--read", capture, "--loop"], async (server) => {
      const { page, close } = await open(server.url, { viewport: { width: 900, height: 700 } });
      await page.locator(".alert").first().waitFor();
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 900);
      await close();
    });
  });

  for (const width of [320, 390, 1280]) {
    test(`fits a window ${width} pixels wide, with nothing over another in its head`, async () => {
      await withProgram(["--read", capture, "--loop"], async (server) => {
        const { page, close } = await open(server.url, { viewport: { width, height: 700 } });
        await page.locator(".alert").first().waitFor();
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
        const over = await page.evaluate(() => {
          const boxes = [...document.querySelectorAll(".top h1, .top .chip, .top button")].map((e) => e.getBoundingClientRect());
          return boxes.some((a, i) => boxes.some((b, j) => i < j && a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom));
        });
        assert.equal(over, false);
        const head = () => page.locator(".top").evaluate((e) => e.offsetHeight);
        const height = await head();
        await page.getByRole("button", { name: "Pause" }).click(); // the axis ends with a time of day then
        const bad = await page.evaluate(() => {
          const cut = [...document.querySelectorAll(".legend-item")].filter((e) => e.getBoundingClientRect().right > e.closest(".panel").getBoundingClientRect().right - 1 || e.closest(".legend").clientWidth < e.offsetWidth);
          const ticks = [...document.querySelectorAll(".time-axis span")].map((e) => e.getBoundingClientRect()).filter((r) => r.width > 0);
          const time = document.querySelector(".legend-time");
          if (time.getBoundingClientRect().left < time.closest(".legend").getBoundingClientRect().left) cut.push(time);
          return [cut.map((e) => e.textContent), ticks.some((a, i) => ticks.some((b, j) => i < j && a.left < b.right && b.left < a.right))];
        });
        assert.deepEqual(bad, [[], false]);
        assert.equal(await head(), height, "the head has grown and pushes the page down");
        await close();
      });
    });
  }

  test("is accessible before the first packet's connection", async () => {
    const empty = join(folder, "empty.pcap");
    writeCapture(empty, 0);
    await withProgram(["--read", empty], async (server) => {
      const { page, close } = await open(server.url);
      await page.getByText("No open connections").waitFor();
      await assertAccessible(page);
      await close();
    });
  });

  test("tells of a crash, and goes on after it", async () => {
    await withProgram(["--read", capture, "--loop"], async (server) => {
      const { page, close } = await open(server.url);
      await page.locator(".alert").first().waitFor();
      await server.kill();
      await page.getByText("Connection lost").waitFor();
      assert.equal(await page.locator(".top .tone-good").count(), 0);
      await page.getByText(/Next try in \d+\.\d\ss|Trying now/).first().waitFor();
      await wait(3500);
      assert.ok(await gapShare(page) > 0.02, "the chart does not show the gap");
      await assertAccessible(page);
      const again = await start(server.port, server.database, server.flags);
      try {
        await page.locator(".app[data-state=live]").waitFor({ timeout: 30_000 });
        await page.getByText("Connection lost").waitFor({ state: "detached" });
        await page.locator(".conn-space .conn-row").first().waitFor();
        assert.ok(await page.locator(".alert").count() > 0, "the alerts from before the crash are gone");
        const ids = await page.locator(".alert").evaluateAll((all) => all.map((a) => a.dataset.alert));
        assert.equal(new Set(ids).size, ids.length, "an alert is there twice");
        assert.ok(await gapShare(page) > 0.02, "the chart has filled the gap with something");
      } finally {
        await again.kill();
      }
      await close();
    });
  });

  /** The share of the plot's columns that are grey from top to bottom. */
  function gapShare(page) {
    return page.evaluate(() => {
      const c = document.querySelector("canvas");
      const top = c.getContext("2d").getImageData(0, 0, c.width, 1).data;
      const style = getComputedStyle(c);
      const gap = style.getPropertyValue("--gap").trim();
      const want = [1, 3, 5].map((i) => Number.parseInt(gap.slice(i, i + 2), 16));
      let n = 0;
      for (let x = 0; x < c.width; x++) n += want.every((v, i) => top[4 * x + i] === v) ? 1 : 0;
      return n / c.width;
    });
  }

  test("acknowledges what it has drawn, and goes on where it left off", async () => {
    await withProgram(["--read", capture, "--loop"], async (server) => {
      const { page, close } = await open("about:blank");
      const talks = [];
      page.on("websocket", (ws) => {
        const talk = { sent: [], received: [] };
        ws.on("framesent", (f) => talk.sent.push(JSON.parse(f.payload)));
        ws.on("framereceived", (f) => talk.received.push(JSON.parse(f.payload)));
        talks.push(talk);
      });
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
      await page.locator(".conn-space .conn-row").first().waitFor();
      await wait(1500);
      const [first] = talks;
      const acks = first.sent.filter((m) => m.type === "ack").map((m) => m.seq);
      const seen = new Set(first.received.map((m) => m.seq));
      assert.ok(acks.length > 5, `${acks.length} acknowledgements`);
      assert.ok(acks.every((seq) => seen.has(seq)), "something was acknowledged that had not come");
      assert.equal(first.received.filter((m) => m.type === "snapshot").length, 1);
      assert.equal(first.sent[0].type, "hello");
      assert.equal(first.sent[0].since, undefined);

      await page.evaluate(() => window.cut());
      await page.locator(".app[data-state=live]").waitFor();
      while (talks.length < 2 || !talks[1].received.some((m) => m.type === "stats")) await wait(50);
      const [, second] = talks;
      const { since } = second.sent[0];
      assert.equal(since.epoch, first.received[0].epoch);
      assert.ok(first.received.some((m) => m.seq === since.seq), "it goes on from something that had not come");
      assert.equal(typeof since.gen, "number");
      assert.deepEqual(second.received.filter((m) => m.type === "snapshot" || m.type === "resync"), []);

      await page.keyboard.press("p");
      await page.getByText("Paused", { exact: true }).waitFor();
      while (!second.sent.some((m) => m.type === "sub" && m.rate === 1)) await wait(20);
      await close();
    });
  });

  test("paused, the clock of the page stands", async () => {
    await withProgram(["--read", capture, "--loop"], async (server) => {
      const { page, close } = await open(server.url);
      await page.locator(".conn-space .conn-row").first().waitFor();
      await wait(3000);
      await page.keyboard.press("p");
      await page.getByText("Paused", { exact: true }).waitFor();
      const box = await page.locator("canvas").boundingBox();
      await page.mouse.move(box.x + box.width - 40, box.y + 40);
      await wait(500);
      const said = () => page.evaluate(() => ["legend", "time-now", "tile-value", "conn-space"].map((c) => document.querySelector(`.${c}`).textContent));
      const first = await said();
      assert.match(first[1], /^\d\d:\d\d:\d\d$/);
      await wait(3000);
      assert.deepEqual(await said(), first);
      await close();
    });
  });

  test("the tile and the legend say the same rate", async () => {
    await withProgram(["--read", capture, "--loop"], async (server) => {
      const { page, close } = await open(server.url);
      await page.locator(".conn-space .conn-row").first().waitFor();
      await page.getByRole("button", { name: "packets/s" }).click();
      await page.mouse.move(5, 5);
      await page.waitForFunction(() => [...document.querySelectorAll(".legend-item .num")].every((n) => /\d/.test(n.textContent))); // the first second is known
      for (let i = 0; i < 8; i++) {
        await wait(500);
        const [tile, legend] = await page.evaluate(() => {
          const number = (s) => (/k/.test(s) ? 1000 : 1) * Number.parseFloat(s);
          const tiles = [...document.querySelectorAll(".tile")];
          const one = tiles.find((t) => t.querySelector("h2").textContent === "Packets").querySelector(".tile-value").textContent;
          const parts = [...document.querySelectorAll(".legend-item .num")].map((n) => number(n.textContent));
          return [number(one), parts.reduce((a, b) => a + b, 0)];
        });
        assert.ok(Math.abs(tile - legend) <= Math.max(4, tile / 50), `tile ${tile}, legend ${legend}`);
      }
      await close();
    });
  });

  test("tells when nothing comes though the connection is open", async () => {
    await withProgram(["--read", capture, "--loop"], async (server) => {
      const { page, close } = await open(server.url);
      await page.locator(".app[data-state=live]").waitFor();
      server.freeze();
      await page.getByText("Stale", { exact: true }).waitFor();
      server.thaw();
      await page.locator(".app[data-state=live]").waitFor();
      await close();
    });
  });

  test("says that a file has ended", async () => {
    await withProgram(["--read", capture, "--speed", "max"], async (server) => {
      const { page, complaints, close } = await open(server.url);
      await page.getByText("The file has ended", { exact: true }).waitFor();
      await page.locator(".chip.link.tone-info", { hasText: "ended" }).waitFor();
      await page.locator(".alert", { hasText: "scanning ports" }).waitFor();
      assert.deepEqual(complaints, []);
      await close();
    });
  });

  test("asks for the token, and takes only the right one", async (t) => {
    await withProgram(["--read", capture, "--loop", "--token", "correct-horse-battery-staple"], async (server) => {
      const { page, close } = await open(server.url);
      await page.getByLabel("Token").fill("wrong");
      await page.getByRole("button", { name: "Open" }).click();
      await page.getByText("that is not a token").waitFor();
      await t.test("the form is accessible", () => assertAccessible(page));
      await page.getByLabel("Token").fill("correct-horse-battery-staple");
      await page.getByRole("button", { name: "Open" }).click();
      await page.locator(".conn-space .conn-row").first().waitFor();
      await close();
    });
  });

  // A ratio within one page, so that a busy machine slows both sides of it alike.
  test("draws as many frames as the same page does while it stands still", async () => {
    await withProgram(["--read", capture, "--loop"], async (server) => {
      const { page, close } = await open(server.url);
      await page.locator(".conn-space .conn-row").first().waitFor();
      const ratios = [];
      for (let round = 0; round < 5; round++) {
        const running = await frameTime(page);
        await page.keyboard.press("p");
        const still = await frameTime(page);
        await page.keyboard.press("p");
        ratios.push(still / running);
      }
      ratios.sort((a, b) => a - b);
      assert.ok(ratios[2] >= 0.9, `still to running: ${ratios.map((r) => r.toFixed(2)).join(" ")}`);
      // The measure can fail: a page that takes 25 ms for each frame does not pass.
      const still = await frameTime(page);
      await page.evaluate(() => requestAnimationFrame(function spin() {
        requestAnimationFrame(spin);
        const end = performance.now() + 25;
        while (performance.now() < end);
      }));
      assert.ok(still / await frameTime(page) < 0.9);
      await close();
    });
  });

  /** The median time between frames over a second, in ms. */
  function frameTime(page) {
    return page.evaluate(() => new Promise((done) => {
      const gaps = [];
      let last = performance.now();
      const end = last + 1000;
      requestAnimationFrame(function frame(now) {
        gaps.push(now - last);
        last = now;
        if (now < end) requestAnimationFrame(frame);
        else done(gaps.sort((a, b) => a - b)[gaps.length >> 1]);
      });
    }));
  }
});
