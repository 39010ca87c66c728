import type { Overview } from "../api/types";

/** A moment of the page's own history: there is none on the server yet. */
export type Sample = { at: number; done: number; failed: number; waiting: number };
export type Rates = { times: number[]; done: number[]; failed: number[]; waiting: number[] };

const KEPT = 900; // half an hour at one in two seconds
const samples: Sample[] = [];

/** Remember what the overview said at `at` (ms). A worker that ended takes its sums along: that is no negative rate. */
export function remember(overview: Overview, at: number, into: Sample[] = samples): void {
  const { jobs_done: done, jobs_failed: failed, waiting } = overview;
  if (done === null || failed === null || waiting === null || into.at(-1)?.at === at) return;
  into.push({ at, done, failed, waiting });
  if (into.length > KEPT) into.splice(0, into.length - KEPT);
}

/** Workers publish their sums every few seconds: a rate over a shorter time would jump between zero and double. */
const WINDOW = 3;

/** Jobs per second, over WINDOW samples. */
export function rates(from: readonly Sample[] = samples): Rates {
  const result: Rates = { times: [], done: [], failed: [], waiting: [] };
  for (let index = 1; index < from.length; index++) {
    const before = from[Math.max(0, index - WINDOW)] as Sample;
    const after = from[index] as Sample;
    const seconds = (after.at - before.at) / 1000;
    if (seconds <= 0) continue;
    result.times.push(after.at / 1000);
    result.done.push(Math.max(0, after.done - before.done) / seconds);
    result.failed.push(Math.max(0, after.failed - before.failed) / seconds);
    result.waiting.push(after.waiting);
  }
  return result;
}
