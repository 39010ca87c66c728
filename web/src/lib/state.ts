import type { Job, JobState } from "../api/types";

/** What the page shows: the five states, and two that follow from run_at and attempts. */
export type ShownState = JobState | "scheduled" | "retrying";

/** In the order in which a job passes them; the type makes sure that none is missing. */
const ORDER: Record<JobState, true> = {
  pending: true,
  processing: true,
  completed: true,
  failed: true,
  cancelled: true,
};

export const STATES = Object.keys(ORDER) as readonly JobState[];

export function shownState(job: Pick<Job, "status" | "attempts" | "run_at">, now: number): ShownState {
  if (job.status !== "pending") return job.status;
  if (job.attempts > 0) return "retrying";
  return job.run_at && Date.parse(job.run_at) > now ? "scheduled" : "pending";
}

export function isState(value: unknown): value is JobState {
  return STATES.includes(value as JobState);
}
