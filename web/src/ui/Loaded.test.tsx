import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { Loaded } from "./Loaded";

afterEach(cleanup);

type Query = Parameters<typeof Loaded<string[]>>[0]["query"];

function show(query: Partial<Query>, options: { quiet?: boolean } = {}) {
  const whole = { data: undefined, error: null, dataUpdatedAt: 0, refetch: vi.fn(), ...query } as Query;
  render(
    <Loaded query={whole} empty={<p>nothing</p>} {...options}>
      {(items) => <p>{items.join()}</p>}
    </Loaded>,
  );
  return whole;
}

const ERROR = new Error("failed to list jobs");

test("while it loads there is a skeleton", () => {
  show({});
  expect(screen.getByRole("status", { name: "Loading" })).toBeTruthy();
});

test("data are drawn, an empty list is not", () => {
  show({ data: ["a", "b"] });
  expect(screen.getByText("a,b")).toBeTruthy();
  cleanup();
  show({ data: [] });
  expect(screen.getByText("nothing")).toBeTruthy();
  expect(screen.queryByRole("status")).toBeNull();
});

test("an error can be tried again, and stands above older data with their age", () => {
  const query = show({ error: ERROR });
  expect(screen.queryByRole("status")).toBeNull();
  screen.getByRole("button", { name: "Try again" }).click();
  expect(query.refetch).toHaveBeenCalledOnce();
  cleanup();
  show({ data: ["a"], error: ERROR, dataUpdatedAt: Date.now() - 65_000 });
  expect(screen.getByRole("alert").textContent).toContain("failed to list jobs · showing data from 1m ago");
  expect(screen.getByText("a")).toBeTruthy();
});

test("a quiet one shows an error only where there are no data", () => {
  show({ data: ["a"], error: ERROR, dataUpdatedAt: 1 }, { quiet: true });
  expect(screen.queryByRole("alert")).toBeNull();
  cleanup();
  show({ error: ERROR }, { quiet: true });
  expect(screen.getByRole("alert").textContent).toBe("failed to list jobs");
});
