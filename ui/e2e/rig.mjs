// What the browser tests stand on: the real program on a free port, and a real browser.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../..", import.meta.url));
export const program = `${root}netlyra`;
export const kafka = `${root}tools/kafka.sh`;
export const demoCapture = `${root}demo/sample.pcap.zst`;

const browserPath = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** What is missing for these tests, with the remedy; "" if nothing is. */
export function missing() {
  if (!existsSync(program)) return "there is no ./netlyra: run `./task build`";
  if (!existsSync(browserPath)) return `there is no ${browserPath}: run \`apt-get install chromium\`, or set CHROMIUM to a Chromium`;
  return "";
}

/** What is missing for a Kafka, with the remedy; "" if nothing is. */
export function missingKafka() {
  const found = (name) => (process.env.PATH ?? "").split(":").some((dir) => existsSync(join(dir, name)));
  return found("java") && found("mvn") ? "" : "Kafka needs Java 17 and Maven: tools/debian.sh installs them";
}

export function launch() {
  return chromium.launch({
    executablePath: browserPath,
    // As root there is no sandbox; and nothing here is to reach out of this machine.
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
}

export async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** Starts the program and waits until it answers. flags are those of the command. */
export async function start(port, database, flags, command = "run") {
  const child = spawn(program, [command, "--listen", `127.0.0.1:${port}`, "--ws-listen", "off", "--database", database, ...flags], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  child.stderr.on("data", (b) => (log += b));
  const ended = new Promise((done) => child.on("exit", done));
  const url = `http://127.0.0.1:${port}/`;
  while (true) {
    if (child.exitCode !== null) throw new Error(`netlyra has ended:\n${log}`);
    const answer = await fetch(url).catch(() => null);
    if (answer?.ok) break;
    await new Promise((done) => setTimeout(done, 50));
  }
  return {
    url,
    /** Ends it at once, as a crash would. */
    kill: () => {
      child.kill("SIGKILL");
      return ended;
    },
    /** Lets it stand still with its connections open, and go on. */
    freeze: () => child.kill("SIGSTOP"),
    thaw: () => child.kill("SIGCONT"),
    stop: () => {
      child.kill("SIGTERM");
      return ended;
    },
  };
}

export const wait = (ms) => new Promise((done) => setTimeout(done, ms));

/** Tests with a browser and a folder of their own. body gets the tools below. lacks is what else is missing for them. */
export function suite(name, body, lacks = "") {
  const problem = missing() || lacks;
  if (problem !== "" && process.env.CI === "true") throw new Error(problem);
  describe(name, { skip: problem === "" ? false : problem, timeout: 600_000 }, () => {
    const folder = mkdtempSync(join(tmpdir(), "netlyra-page-"));
    let browser;
    before(async () => {
      browser = await launch();
    });
    after(async () => {
      await browser?.close();
      rmSync(folder, { recursive: true, force: true });
    });

    /** A page whose every complaint is kept. */
    async function open(url, options = {}) {
      const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: "dark", ...options });
      const page = await context.newPage();
      const complaints = [];
      page.on("pageerror", (e) => complaints.push(`error: ${e.message}`));
      page.on("console", (m) => {
        if (m.type() === "error" || m.type() === "warning") complaints.push(`${m.type()}: ${m.text()}`);
      });
      await page.addInitScript(() => {
        document.addEventListener("securitypolicyviolation", (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`));
      });
      await page.goto(url);
      return { page, complaints, close: () => context.close() };
    }

    async function withProgram(flags, work) {
      const port = await freePort();
      const database = join(mkdtempSync(join(folder, "run-")), "netlyra.db");
      const server = { port, database, flags, ...(await start(port, database, flags)) };
      try {
        await work(server);
      } finally {
        await server.kill();
      }
    }

    body({ folder, open, withProgram });
  });
}

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** No violation of WCAG 2.2 A and AA or of good practice, and a name for the canvas, which axe does not ask for. */
export async function assertAccessible(page) {
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const found = violations.map((v) => `${v.id}: ${v.help}; ${v.nodes.slice(0, 3).map((n) => `${n.html} ${n.any[0]?.message ?? ""}`).join(" | ")}`);
  assert.deepEqual(found, []);
  for (const canvas of await page.locator("canvas").all()) assert.notEqual(await canvas.getAttribute("aria-label"), "");
}
