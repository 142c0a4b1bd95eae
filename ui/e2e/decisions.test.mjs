// Decisions: warned of before, undone after, and what is said to who may not.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { writeScans } from "./capture.mjs";
import { assertAccessible, freePort, suite, wait } from "./rig.mjs";

suite("decisions", ({ folder, open, withProgram }) => {
  const few = join(folder, "few.pcap");
  writeScans(few, 5, 0.3, 0, 90);
  const token = "correct-horse-battery-staple";

  const items = (page) => page.locator(".alert-list .alert");
  const show = (page, name) => page.getByRole("group", { name: "Which alerts" }).getByRole("button", { name }).click();
  const form = (page) => page.getByRole("form", { name: "This is normal" });
  const toast = (page) => page.locator(".toast");
  const asked = async (server, path) => (await fetch(`${server.url}api/v1/${path}`)).json();

  /** Opens the form of the nth alert. */
  async function decide(page, n) {
    const head = items(page).nth(n).locator(".alert-head");
    if ((await head.getAttribute("aria-expanded")) === "false") await head.click();
    await page.getByRole("button", { name: "This is normal…" }).click();
    await form(page).getByText(/Hides \d+ incidents? of the list/).waitFor();
    await form(page).getByLabel("Because").fill("our own scanner");
  }

  test("are undone, and the focus stays in place", async (t) => {
    await withProgram(["--read", few], async (server) => {
      const { page, complaints, close } = await open(server.url);
      await items(page).nth(4).waitFor();
      const ids = await items(page).evaluateAll((list) => list.map((a) => a.dataset.alert));

      await t.test("hidden, the focus goes to the next row", async () => {
        await decide(page, 1);
        await form(page).getByRole("button", { name: "Hide these" }).focus();
        await page.keyboard.press("Enter");
        await page.locator(`[data-alert="${ids[1]}"]`).waitFor({ state: "detached" });
        await page.waitForFunction((id) => document.activeElement.closest("[data-alert]")?.dataset.alert === id, ids[2]);
        assert.equal(await page.evaluate(() => document.activeElement.className), "alert-head");
        assert.match(await page.locator("[role=status].toasts").textContent(), /Hidden from now on: Port scan, 192\.0\.2\.4/);
        await assertAccessible(page);
      });

      await t.test("undone by a key, it is in the list again", async () => {
        assert.equal((await asked(server, "exceptions")).items.length, 1);
        await page.keyboard.press("z");
        await toast(page).getByText("Undone.").waitFor();
        await page.locator(`[data-alert="${ids[1]}"]`).waitFor();
        assert.equal((await asked(server, "exceptions")).items.length, 0);
        assert.equal((await asked(server, "alerts")).items.length, 5);
      });

      await t.test("an exception that was removed is made again as it was", async () => {
        await decide(page, 1);
        await form(page).getByLabel("For").selectOption("1 week");
        await form(page).getByRole("button", { name: "Hide these" }).click();
        await toast(page).getByRole("button", { name: "Close" }).click();
        await toast(page).waitFor({ state: "detached" });
        await show(page, "Exceptions");
        const [{ id: _a, created: _b, hits: _c, ...before }] = (await asked(server, "exceptions")).items;
        await page.locator(".exception").getByRole("button", { name: "Remove" }).click();
        await page.getByText("No exceptions").waitFor();
        await toast(page).getByRole("button", { name: "Undo" }).click();
        await page.locator(".exception").waitFor();
        const [{ id: _d, created: _e, hits, ...after }] = (await asked(server, "exceptions")).items;
        assert.deepEqual(after, before);
        assert.equal(hits, 1);
        assert.match(await page.locator(".exception").textContent(), /[67]\sd left, until \d{4}-\d\d-\d\d \d\d:\d\d/);
      });

      await t.test("an alert that was put back is hidden again", async () => {
        await show(page, "Hidden");
        await items(page).first().locator(".alert-head").click();
        await page.getByRole("button", { name: "Show in the list" }).click();
        await page.getByText("Nothing is hidden").waitFor();
        assert.equal((await asked(server, "alerts")).items.length, 5);
        await page.keyboard.press("z");
        await items(page).first().waitFor();
        assert.equal((await asked(server, "alerts?triage=hidden")).items.length, 1);
      });

      await t.test("what can be undone stays while somebody points at it, and goes after 10 s", async () => {
        await page.getByRole("button", { name: "Show in the list" }).click();
        await toast(page).hover();
        await wait(11_000);
        assert.equal(await toast(page).count(), 1);
        await page.mouse.move(5, 5);
        await toast(page).waitFor({ state: "detached", timeout: 20_000 });
      });

      assert.deepEqual(complaints, []);
      await close();
    });
  });

  test("for a whole kind of incident are warned of before and after", async () => {
    await withProgram(["--read", few], async (server) => {
      const { page, complaints, close } = await open(server.url);
      await items(page).nth(4).waitFor();
      await decide(page, 0);
      assert.equal(await page.getByText(/hides every incident/).count(), 0);
      for (const name of [/^host/, /^peer/]) await form(page).getByLabel(name).uncheck();
      await form(page).getByText(/This hides every incident of the kind port_scan, whoever is concerned/).waitFor();
      await form(page).getByText("Hides 5 incidents of the list").waitFor();
      await assertAccessible(page);
      await form(page).getByRole("button", { name: "Hide these" }).click();
      await toast(page).getByText(/This hides every incident/).waitFor();
      await items(page).first().waitFor({ state: "detached" });
      await show(page, "Exceptions");
      await page.locator(".exception").getByText(/This hides every incident/).waitFor();
      await assertAccessible(page);
      assert.deepEqual(complaints, []);
      await close();
    });
  });

  /** Something that hands connections on to a port as another user of this machine. */
  async function asNobody(port) {
    const own = await freePort();
    const script = `const net = require("node:net");
      net.createServer((c) => {
        const s = net.connect(${port}, "127.0.0.1");
        c.pipe(s).pipe(c);
        c.on("error", () => s.destroy());
        s.on("error", () => c.destroy());
      }).listen(${own}, "127.0.0.1", () => console.log("ready"));`;
    const forward = spawn(process.execPath, ["-e", script], { uid: 65534, gid: 65534, cwd: "/", stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((done) => forward.stdout.once("data", done));
    return { url: `http://127.0.0.1:${own}/`, end: () => forward.kill() };
  }

  test("of another user are refused in words that help", { skip: process.getuid() === 0 ? false : "only root can be another user: run it as root" }, async () => {
    await withProgram(["--read", few], async (server) => {
      const nobody = await asNobody(server.port);
      const { page, close } = await open(nobody.url);
      await items(page).nth(4).waitFor();
      await decide(page, 0);
      await form(page).getByRole("button", { name: "Hide these" }).click();
      const words = /You may look here, but not decide\. Without a token, decisions come from root and from the user who started NetLyra.*--token-file/;
      await form(page).getByRole("alert").getByText(words).waitFor();
      assert.equal(await page.getByRole("button", { name: "Enter the token" }).count(), 0);
      await assertAccessible(page);
      assert.equal((await asked(server, "exceptions")).items.length, 0);
      await close();
      nobody.end();
    });
  });

  test("with a token for reading are refused, and the full one can be entered", async () => {
    const reading = join(folder, "reading");
    writeFileSync(reading, "reading-horse-battery-staple\n", { mode: 0o600 });
    const full = join(folder, "full");
    writeFileSync(full, `${token}\n`, { mode: 0o600 });
    await withProgram(["--read", few, "--token-file", full, "--read-token-file", reading], async (server) => {
      const { page, close } = await open(server.url);
      const enter = async (text) => {
        await page.getByLabel("Token").fill(text);
        await page.getByRole("button", { name: "Open" }).click();
        await items(page).nth(4).waitFor();
      };
      await enter("reading-horse-battery-staple");
      await items(page).first().locator(".alert-head").click();
      await page.getByRole("button", { name: "This is normal…" }).click();
      await form(page).getByText(/The token that was entered is for reading only/).waitFor();
      await assertAccessible(page);
      await form(page).getByRole("button", { name: "Enter the token" }).first().click();
      await enter(token);
      await decide(page, 0);
      await form(page).getByRole("button", { name: "Hide these" }).click();
      await toast(page).waitFor();
      await close();
    });
  });

  test("of a session that has ended ask for the token again", async () => {
    const full = join(folder, "full-again");
    writeFileSync(full, `${token}\n`, { mode: 0o600 });
    await withProgram(["--read", few, "--token-file", full], async (server) => {
      const { page, close } = await open(server.url);
      await page.getByLabel("Token").fill(token);
      await page.getByRole("button", { name: "Open" }).click();
      await items(page).nth(4).waitFor();
      await decide(page, 0);
      await page.context().clearCookies();
      await form(page).getByRole("button", { name: "Hide these" }).click();
      await form(page).getByText(/not signed in any more.*Enter the token again/).waitFor();
      await form(page).getByRole("button", { name: "Enter the token" }).click();
      await page.getByLabel("Token").waitFor();
      await close();
    });
  });
});
