import type { JobState } from "./states.gen";

export type { JobState };

/** A row of GET /api/jobs. `payload` stays text, so that big integers and the order of keys survive. */
export type Job = {
  id: string;
  type: string;
  status: JobState;
  queue: string;
  retries: number;
  attempts: number;
  recoveries: number;
  interruptions: number;
  payload: unknown;
  error_message: string | null;
  created_at: string;
  updated_at: string;
  run_at: string | null;
  worker: string | null;
  started_at: string | null;
  finished_at: string | null;
};

export type Run = {
  number: number;
  worker: string | null;
  started_at: string | null;
  ended_at: string | null;
  outcome: string;
  error: string | null;
  traceback: string | null;
};

export type Artifact = { name: string; content_type: string; bytes: number };

export type JobDetails = Job & { result: unknown; artifacts: Artifact[]; runs: Run[] };

export type WorkerInfo = {
  id: string;
  name: string;
  host: string;
  pid: number;
  version: string;
  concurrency: number;
  types: string[];
  running: { job_id: string; type: string; seconds: number }[];
  jobs_done: number;
  jobs_failed: number;
  uptime_seconds: number;
  seen_seconds_ago: number;
};

export type Health = { ok: boolean; ms: number | null; error: string | null };

/** Numbers that Redis has are null while it is away. */
export type Overview = {
  queue_name: string;
  version: string;
  waiting: number | null;
  scheduled: number | null;
  dead: number | null;
  redis: Health;
  postgres: Health | null;
  workers: number | null;
  concurrency: number | null;
  running: number | null;
  jobs_done: number | null;
  jobs_failed: number | null;
};

export type WorkerMetrics = { total_jobs_in_queue: number; jobs_done: number; jobs_failed: number };

export type JobFilter = { status?: JobState | undefined; type?: string | undefined; cursor?: string | undefined };
export type JobPage = { jobs: Job[]; next: string | undefined };
export type Enqueued = { status: string; type: string; retries: number; queue_name: string; job_id?: string };
