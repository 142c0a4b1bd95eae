/// <reference types="vite/client" />
import { expect, test } from "vitest";
import text from "../../../docs/wire-format.md?raw";
import { features } from "./names.ts";

test("there are words for exactly the features of docs/wire-format.md", () => {
  const section = text.split("### Features\n")[1]?.split("\n### ")[0] ?? "";
  const listed = [...section.matchAll(/^\| `([a-z_]+)` \|/gm)].map((m) => m[1]);
  expect(listed.length).toBeGreaterThan(8);
  expect(Object.keys(features).sort()).toEqual(listed.sort());
});
