// Takes docs/screenshot.png: the page while the demo plays, after the scan and the flood, with one alert open.
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { demoCapture, freePort, launch, missing, start } from "./rig.mjs";

const target = fileURLToPath(new URL("../../docs/screenshot.png", import.meta.url));
const most = 300_000; // bytes
const patience = 180_000; // ms: the scan is at the end of the demo's minute

const problem = missing();
if (problem !== "") throw new Error(problem);

const folder = mkdtempSync(join(tmpdir(), "netlyra-screenshot-"));
const server = await start(await freePort(), join(folder, "netlyra.db"), ["--read", demoCapture, "--loop", "--sensor", "demo"]);
const browser = await launch();
try {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, colorScheme: process.argv[2] ?? "dark" });
  await page.goto(server.url);
  await page.locator(".alert", { hasText: "scanning ports" }).waitFor({ timeout: patience });
  await page.locator(".alert", { hasText: "is being flooded" }).waitFor({ timeout: patience });
  await page.waitForTimeout(15_000); // the next round of the demo is under way
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.locator(".detail").waitFor();
  await page.evaluate(() => document.activeElement?.blur());
  await page.screenshot({ path: process.argv[3] ?? target });
} finally {
  await browser.close();
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}
if (process.argv[3] === undefined && statSync(target).size > most) throw new Error(`docs/screenshot.png is over ${most} bytes`);
