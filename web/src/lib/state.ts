import type { Job, JobState } from "../api/types";

/** What a person sees: the five states, and two that follow from run_at and attempts. */
export type ShownState = JobState | "scheduled" | "retrying";

export const STATES: readonly JobState[] = ["pending", "processing", "completed", "failed", "cancelled"];

export function shownState(job: Pick<Job, "status" | "attempts" | "run_at">, now: number): ShownState {
  if (job.status !== "pending") return job.status;
  if (job.attempts > 0) return "retrying";
  return job.run_at && Date.parse(job.run_at) > now ? "scheduled" : "pending";
}

export function isState(value: unknown): value is JobState {
  return STATES.includes(value as JobState);
}
