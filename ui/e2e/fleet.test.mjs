// A console of two sensors over a real Kafka: who they are, one of them alone, and one that falls silent.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { assertAccessible, demoCapture, freePort, kafka, missingKafka, start, suite, wait } from "./rig.mjs";

const odd = "y\u202eard<b>2</b>"; // a name may have marks that turn the direction of writing

suite("a fleet", ({ folder, open }) => {
  let broker;
  let console_;
  const sensors = {};
  before(async () => {
    const node = join(folder, "kafka");
    broker = execFileSync(kafka, ["start", node], { env: { ...process.env, KAFKA_PORT: String(await freePort()) }, encoding: "utf8", timeout: 300_000 }).trim();
    const fresh = (name) => join(mkdtempSync(join(folder, `${name}-`)), "netlyra.db");
    for (const name of ["hall", odd]) {
      sensors[name] = await start(await freePort(), fresh("run"), ["--read", demoCapture, "--loop", "--sensor", name, "--brokers", broker]);
    }
    console_ = await start(await freePort(), fresh("serve"), ["--console", "c", "--brokers", broker], "serve");
  }, { timeout: 400_000 });
  after(async () => {
    await Promise.all([console_, ...Object.values(sensors)].map((p) => p?.kill()));
    execFileSync(kafka, ["stop", join(folder, "kafka")], { timeout: 120_000 });
  });

  const row = (page, name) => page.locator(".sensors tbody tr").filter({ hasText: name });

  test("the page shows both, and one alone", { timeout: 180_000 }, async () => {
    const { page, complaints, close } = await open(console_.url);
    await row(page, "hall").filter({ hasText: "ok" }).waitFor();
    await row(page, "y\\u{202e}ard<b>2</b>").filter({ hasText: "ok" }).waitFor(); // as text, with what is invisible made visible
    assert.equal(await page.locator(".sensors tbody tr").count(), 2);
    await page.locator(".tile").filter({ hasText: "Traffic" }).filter({ hasText: /[1-9].*bit\/s/ }).waitFor();
    await page.locator(".alert .by-sensor").filter({ hasText: "hall" }).first().waitFor({ timeout: 120_000 });
    await page.locator(".alert .by-sensor").filter({ hasText: "ard" }).first().waitFor({ timeout: 120_000 });
    await page.locator(".conn-row .seen-by").first().waitFor();
    assert.ok(await page.evaluate(() => globalThis.document.querySelector(".sensors b") === null));
    await assertAccessible(page);

    await row(page, "hall").getByRole("button").click();
    assert.equal(new URL(page.url()).searchParams.get("sensor"), "hall");
    const listed = (await (await fetch(`${console_.url}api/v1/alerts?sensor=hall&limit=500`)).json()).items.map((a) => a.id);
    await page.locator(".alert").first().waitFor();
    const shown = await page.locator(".alert").evaluateAll((all) => all.map((a) => a.dataset.alert));
    assert.ok(shown.length > 0 && shown.every((id) => listed.includes(id)), `${shown} are not all of ${listed}`);
    assert.equal(await page.locator(".by-sensor, .seen-by").count(), 0);
    await page.locator(".tile").filter({ hasText: "Traffic" }).filter({ hasText: /[1-9].*bit\/s/ }).waitFor();

    await page.reload();
    await page.getByRole("button", { name: /sensor hall/ }).waitFor();
    await page.locator(".sensors tr.chosen").filter({ hasText: "hall" }).waitFor();
    await assertAccessible(page);
    for (const width of [320, 390, 768, 1280]) {
      await page.setViewportSize({ width, height: 900 });
      await wait(200);
      assert.ok(await page.evaluate(() => globalThis.document.documentElement.scrollWidth <= globalThis.innerWidth), `${width} px are not enough`);
      if (process.env.SHOTS) await page.screenshot({ path: join(process.env.SHOTS, `fleet-${width}.png`) });
    }
    await page.getByRole("button", { name: /sensor hall/ }).click();
    assert.equal(new URL(page.url()).searchParams.get("sensor"), null);
    await page.locator(".alert .by-sensor").filter({ hasText: "ard" }).first().waitFor();
    if (process.env.SHOTS) await page.screenshot({ path: join(process.env.SHOTS, "fleet-all.png") });
    assert.deepEqual(complaints, []);
    await close();
  });

  test("a sensor that has ended is silent, and said to be", { timeout: 120_000 }, async () => {
    await sensors[odd].stop();
    const { page, complaints, close } = await open(console_.url);
    await row(page, "ard").filter({ hasText: "silent" }).waitFor({ timeout: 60_000 });
    await page.locator(".notice").filter({ hasText: "Sensors that have given no sign of life for 10 s: y\\u{202e}ard" }).waitFor({ timeout: 30_000 });
    if (process.env.SHOTS) await page.screenshot({ path: join(process.env.SHOTS, "fleet-silent.png") });
    assert.deepEqual(complaints, []);
    await close();
  });
}, missingKafka());
