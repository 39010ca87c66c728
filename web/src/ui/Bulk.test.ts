import { describe, expect, it } from "vitest";
import { outcome } from "./Bulk";

const at = { created_at: "2026-01-01T00:00:00Z", updated_at: "2026-01-01T00:00:00Z" };

describe("what an action on many jobs has come to", () => {
  it.each([
    ["running", 40, 0, "40 of 1,234 jobs retried …"],
    ["done", 1234, 0, "1,234 jobs retried."],
    ["done", 1, 2, "1 job retried, 2 had changed meanwhile."],
    ["stopped", 40, 0, "40 jobs retried, then stopped."],
  ] as const)("%s", (state, done, failed, words) => {
    expect(outcome({ action: "retry", matched: 1234, done, failed, state, ...at })).toBe(words);
  });
});
