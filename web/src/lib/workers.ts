import type { WorkerInfo } from "../api/types";
import { count } from "./format";

/** Has it ended? It is shown for an hour then. */
export function isGone(worker: Pick<WorkerInfo, "state">): boolean {
  return worker.state === "stopped" || worker.state === "gone";
}

/** Does it renew its lease? */
export function isAlive(worker: Pick<WorkerInfo, "state">): boolean {
  return !isGone(worker) && worker.state !== "silent";
}

/** What a worker is about, where that is not simply its work; what a person has asked of it, and it does not yet. */
export function condition({ state, asked }: Pick<WorkerInfo, "state" | "asked">): string {
  const verbs = { quiet: "be quiet", resume: "resume", stop: "stop" };
  const words = state === "working" ? [] : [state];
  return [...words, ...(asked ? [`asked to ${verbs[asked]}`] : [])].join(", ");
}

/** What became of the jobs that a worker had when it ended. */
export function fate(became: WorkerInfo["became"]): string {
  if (!became) return "";
  const counts: [number, string][] = [
    [became.given_back, "given back"],
    [became.failed, "failed"],
    [became.cancelled, "cancelled"],
  ];
  const words = counts.filter(([jobs]) => jobs > 0).map(([jobs, word]) => `${count(jobs)} ${word}`);
  return words.length > 0 ? `Its jobs: ${words.join(", ")}` : "It had no jobs left";
}
