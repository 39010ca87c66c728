import { expect, test } from "vitest";
import { actsOf } from "./Acts";

const NOW = Date.parse("2026-11-24T12:00:00Z");
const job = (status: string, more = {}) =>
  ({ status, attempts: 0, run_at: null, cancelling: false, ...more }) as Parameters<typeof actsOf>[0];

test("each state offers what the server accepts", () => {
  expect(actsOf(job("pending"), NOW)).toEqual(["cancel"]);
  expect(actsOf(job("pending", { run_at: "2026-11-24T13:00:00Z" }), NOW)).toEqual(["run-now", "cancel"]);
  expect(actsOf(job("pending", { attempts: 1, run_at: "2026-11-24T13:00:00Z" }), NOW)).toEqual(["run-now", "cancel"]);
  expect(actsOf(job("pending", { attempts: 1, run_at: "2026-11-24T11:00:00Z" }), NOW)).toEqual(["cancel"]);
  expect(actsOf(job("processing"), NOW)).toEqual(["cancel"]);
  expect(actsOf(job("processing", { cancelling: true }), NOW)).toEqual([]);
  expect(actsOf(job("completed"), NOW)).toEqual(["delete"]);
  expect(actsOf(job("failed"), NOW)).toEqual(["retry", "delete"]);
  expect(actsOf(job("cancelled"), NOW)).toEqual(["retry", "delete"]);
});
