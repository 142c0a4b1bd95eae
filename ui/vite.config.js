import { defineConfig } from "vite";

export default defineConfig({
  // `npm run dev` shows the page from sources, with the data of a program that runs on the default port.
  server: {
    proxy: {
      "/api": "http://127.0.0.1:8090",
      "/ws": { target: "ws://127.0.0.1:8090", ws: true },
    },
  },
  build: {
    target: "es2023",
    outDir: "dist",
    emptyOutDir: true, // public/.gitkeep brings the mark back that the Go build needs in an empty dist
    assetsInlineLimit: 0, // the page's own policy allows files only
    modulePreload: false, // one script: nothing to preload
    reportCompressedSize: false, // scripts/budget.mjs does
  },
  test: {
    include: ["src/**/*.test.ts"],
  },
});
