import { expect, test } from "vitest";
import { nextCursor } from "../api/client";
import { jobQuery } from "../api/queries";
import { jobsSearch } from "../app/router";
import { OPTIONS, optionMembers, payloadFault, retriesFault } from "../pages/Enqueue";
import { ago, bytes, count, duration } from "./format";
import { oneLine, parseJson, pretty } from "./json";
import { rates, type Sample, withSample } from "./rates";
import { isState, shownState } from "./state";

test.each([
  [0.0041, "4 ms"],
  [1.5, "1.50 s"],
  [42.25, "42.3 s"],
  [75, "1m 15s"],
  [7_300, "2h 1m"],
  [200_000, "2d 7h"],
  [-3, "0 ms"],
])("%s seconds are %s", (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});

test("ages, numbers and sizes are shown in units that fit", () => {
  expect([ago(-5_000), ago(59_000), ago(61_000), ago(7_200_000), ago(200_000_000)]).toEqual([
    "now",
    "59s ago",
    "1m ago",
    "2h ago",
    "2d ago",
  ]);
  expect([ago(59_999), ago(60_000), ago(3_599_999), ago(3_600_000)]).toEqual([
    "59s ago",
    "1m ago",
    "59m ago",
    "1h ago",
  ]);
  expect([ago(86_399_999), ago(86_400_000)]).toEqual(["23h ago", "1d ago"]);
  expect([count(1234567), count(null)]).toEqual(["1,234,567", "–"]);
  expect([bytes(12), bytes(5604), bytes(2_500_000)]).toEqual(["12 B", "5.6 kB", "2.5 MB"]);
});

test("JSON is written as it was read", () => {
  const text = '{"a":[1,2.5,true,null],"empty":{},"list":[],"text":"x\\n\\"","":1}';
  expect(oneLine(parseJson(text))).toBe(text);
  expect(pretty(parseJson('{"a":[1],"b":{}}'))).toBe('{\n  "a": [\n    1\n  ],\n  "b": {}\n}');
});

test("two states follow from run_at and attempts", () => {
  const job = { status: "pending" as const, attempts: 0, run_at: null };
  expect(shownState(job, 0)).toBe("pending");
  expect(shownState({ ...job, run_at: "2030-01-01T00:00:00Z" }, Date.parse("2029-01-01"))).toBe("scheduled");
  expect(shownState({ ...job, run_at: "2030-01-01T00:00:00Z" }, Date.parse("2031-01-01"))).toBe("pending");
  expect(shownState({ ...job, attempts: 1 }, 0)).toBe("retrying");
  expect(shownState({ ...job, status: "failed", attempts: 3 }, 0)).toBe("failed");
  expect([isState("failed"), isState("retrying"), isState(null)]).toEqual([true, false, false]);
});

test("the page's own history is bounded, and its newest samples stay", () => {
  const overview = { jobs_done: 1, jobs_failed: 0, waiting: 0 } as never;
  let samples: readonly Sample[] = [];
  for (let at = 1; at <= 2_000; at++) samples = withSample(samples, overview, at);
  expect(samples.map((sample) => sample.at)).toEqual(Array.from({ length: 900 }, (_, index) => 1_101 + index));
});

test("a job is asked for again while it may change, and not while the page is paused", () => {
  const every = (live: boolean, status?: string) => {
    const { refetchInterval } = jobQuery("x", live);
    const query = { state: { data: status && { status } } };
    return typeof refetchInterval === "function" ? refetchInterval(query as never) : refetchInterval;
  };
  expect([every(true), every(true, "pending"), every(true, "processing")]).toEqual([1_000, 1_000, 1_000]);
  expect([every(true, "completed"), every(true, "failed"), every(true, "cancelled")]).toEqual([false, false, false]);
  expect([every(false), every(false, "pending"), every(false, "processing")]).toEqual([false, false, false]);
});

test("a rate is a difference, and a worker that ended makes none below zero", () => {
  const overview = (done: number) => ({ jobs_done: done, jobs_failed: 0, waiting: 3 }) as never;
  const answers: [number, number][] = [
    [10, 1_000],
    [30, 3_000],
    [30, 3_000],
    [5, 5_000],
  ];
  const samples = answers.reduce<readonly Sample[]>((all, [done, at]) => withSample(all, overview(done), at), []);
  expect(withSample(samples, { ...(overview(1) as object), waiting: null } as never, 7_000)).toBe(samples);
  expect(rates(samples)).toEqual({ times: [3, 5], done: [10, 0], failed: [0, 0], waiting: [3, 3] });
  const steady = Array.from({ length: 6 }, (_, at) => ({
    at: at * 1_000,
    done: 3 * Math.floor(at / 3),
    failed: 0,
    waiting: 0,
  }));
  expect(rates(steady).done.slice(2)).toEqual([1, 1, 1]);
});

test("the URL is read with defaults, and what is wrong is dropped", () => {
  expect(jobsSearch({ status: "failed", type: "x", cursor: "c", more: 1 })).toEqual({
    status: "failed",
    type: "x",
    cursor: "c",
  });
  expect(jobsSearch({ status: "nonsense", type: "", cursor: ["a"] })).toEqual({});
  expect(jobsSearch({ type: 7 })).toEqual({ type: "7" });
});

test("the next page's cursor is read from the Link header", () => {
  expect(nextCursor('</api/jobs?limit=50&cursor=a%2Bb>; rel="next"')).toBe("a+b");
  expect(nextCursor(null)).toBeUndefined();
});

test("a payload is an object and retries are a number", () => {
  expect([payloadFault('{"a":1}'), retriesFault("3")]).toEqual([null, null]);
  expect(payloadFault("[1]")).toBe("The payload must be a JSON object.");
  expect(payloadFault("{")).not.toBeNull();
  expect([retriesFault("1.5"), retriesFault("-1"), retriesFault(""), retriesFault("9999999")]).not.toContain(null);
});

test("what a job chooses stands in its task, and what is wrong is said", () => {
  expect(optionMembers({})).toBe("");
  expect(optionMembers({ queue: "", delay: "90", timeout: "2.5", expires_in: "" })).toBe(',"delay":90,"timeout":2.5');
  expect(optionMembers({ queue: "low" })).toBe(',"queue":"low"');
  expect(optionMembers({ group: 'acme "7"', queue: "low" })).toBe(',"queue":"low","group":"acme \\"7\\""');
  expect(optionMembers({ group: "7" })).toBe(',"group":"7"');
  expect(OPTIONS.group.fault("ü 7/*".repeat(40))).toBeNull();
  expect(OPTIONS.group.fault("🙂".repeat(200))).toBeNull();
  expect(OPTIONS.group.fault("x".repeat(201))).toBe("At most 200 characters.");
  expect(OPTIONS.queue.fault("a b")).not.toBeNull();
  expect(OPTIONS.queue.fault("critical-1_x")).toBeNull();
  expect(OPTIONS.delay.fault("0")).toBeNull();
  for (const wrong of ["-1", "soon", "1e3", "400000000"]) expect(OPTIONS.delay.fault(wrong)).not.toBeNull();
  for (const wrong of ["0", "-1", "x"]) expect(OPTIONS.timeout.fault(wrong)).not.toBeNull();
});
