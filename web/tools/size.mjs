// The first load stays small: what index.html names, gzipped. Run at the end of a build.
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";

const page = resolve(import.meta.dirname, "../../services/producer/static");
const html = readFileSync(join(page, "index.html"), "utf8");
const budget = { js: 180_000, css: 35_000 };
for (const [kind, limit] of Object.entries(budget)) {
  const files = [...html.matchAll(new RegExp(`(?:src|href)="(/assets/[^"]+\\.${kind})"`, "g"))].map(
    (match) => match[1],
  );
  const bytes = files.reduce((sum, file) => sum + gzipSync(readFileSync(join(page, file))).length, 0);
  console.log(`first load, ${kind}: ${(bytes / 1000).toFixed(1)} kB gzipped of ${limit / 1000} kB`);
  if (bytes > limit) process.exitCode = 1;
}
