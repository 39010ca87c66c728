import type { Overview } from "../api/types";

/** One moment of the page's own history: the server keeps none yet. */
export type Sample = { at: number; done: number; failed: number; waiting: number };
export type Rates = { times: number[]; done: number[]; failed: number[]; waiting: number[] };

const KEPT = 900; // half an hour at one in two seconds

/** `samples` with the overview of `at` (ms) added, unless it has it already; without Redis there is nothing to add. */
export function withSample(samples: readonly Sample[], overview: Overview, at: number): readonly Sample[] {
  const { jobs_done: done, jobs_failed: failed, waiting } = overview;
  if (done === null || failed === null || waiting === null || samples.at(-1)?.at === at) return samples;
  return [...samples, { at, done, failed, waiting }].slice(-KEPT);
}

/** Workers publish their sums every few seconds: a rate over a shorter time would jump between zero and double. */
const WINDOW = 3;

/** Jobs per second, over WINDOW samples. The sums of a worker that ended disappear: that is no negative rate. */
export function rates(samples: readonly Sample[]): Rates {
  const result: Rates = { times: [], done: [], failed: [], waiting: [] };
  for (let index = 1; index < samples.length; index++) {
    const before = samples[Math.max(0, index - WINDOW)] as Sample;
    const after = samples[index] as Sample;
    const seconds = (after.at - before.at) / 1000;
    if (seconds <= 0) continue;
    result.times.push(after.at / 1000);
    result.done.push(Math.max(0, after.done - before.done) / seconds);
    result.failed.push(Math.max(0, after.failed - before.failed) / seconds);
    result.waiting.push(after.waiting);
  }
  return result;
}
