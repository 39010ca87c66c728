import { copyFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";
import { API_PREFIXES } from "./src/api/constants.gen.ts";

const OUT = resolve(import.meta.dirname, "../services/producer/static");
const PRODUCER = "http://localhost:8080";

/** The producer's /docs loads nothing from outside: Swagger UI's own files lie beside docs/index.html. */
function apiDocs(): Plugin {
  return {
    name: "api-docs",
    apply: "build",
    closeBundle() {
      const from = dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"));
      mkdirSync(join(OUT, "docs"), { recursive: true });
      for (const file of ["swagger-ui.css", "swagger-ui-bundle.js"])
        copyFileSync(join(from, file), join(OUT, "docs", file));
    },
  };
}

export default defineConfig({
  plugins: [react(), apiDocs()],
  // No inline script, style or font: the page's Content-Security-Policy forbids them.
  build: { outDir: OUT, emptyOutDir: true, assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: {
    port: 5173,
    strictPort: true,
    proxy: Object.fromEntries(API_PREFIXES.map((prefix) => [prefix, PRODUCER])),
  },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"] },
} as Parameters<typeof defineConfig>[0]);
