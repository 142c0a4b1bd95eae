// What the browser tests stand on: the real program on a free port, and a real browser.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../..", import.meta.url));
export const program = `${root}netlyra`;
export const demoCapture = `${root}demo/sample.pcap.zst`;

const browserPath = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** What is missing for these tests, with the remedy; "" if nothing is. */
export function missing() {
  if (!existsSync(program)) return "there is no ./netlyra: run `./task build`";
  if (!existsSync(browserPath)) return `there is no ${browserPath}: run \`apt-get install chromium\`, or set CHROMIUM to a Chromium`;
  return "";
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

/** Starts the program and waits until it answers. flags are those of `netlyra run`. */
export async function start(port, database, flags) {
  const child = spawn(program, ["run", "--listen", `127.0.0.1:${port}`, "--ws-listen", "off", "--database", database, ...flags], {
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
