// Fails when the built page is heavier than it may be: 60 kB of script and 8 kB of style, compressed.
import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const limits = { js: 60_000, css: 8_000 };
const assets = new URL("../dist/assets/", import.meta.url);

for (const [ext, limit] of Object.entries(limits)) {
  const size = readdirSync(assets)
    .filter((name) => name.endsWith(`.${ext}`))
    .reduce((sum, name) => sum + gzipSync(readFileSync(new URL(name, assets)), { level: 9 }).length, 0);
  console.log(`${ext}: ${size} of ${limit} bytes compressed`);
  if (size > limit) {
    console.error(`the page's ${ext} is ${size - limit} bytes over its budget: load the new part later, or do without`);
    process.exitCode = 1;
  }
}
