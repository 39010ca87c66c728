import { expect, test } from "vitest";
import { isWhole } from "./Dead";

test.each([
  ["", 0, "text", true],
  ["größe", 7, "text", true],
  ["größ", 7, "text", false],
  ["/w==", 1, "base64", true],
  ["AAAA", 4, "base64", false],
] as const)("%s of %d bytes in %s is whole: %s", (task, task_bytes, encoding, whole) => {
  expect(isWhole({ task, task_bytes, encoding })).toBe(whole);
});
