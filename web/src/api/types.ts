/** The page's names for the API's types, and what it adds to them. schema.gen.ts has the types themselves. */

export type {
  ActionView as Action,
  ArtifactHead as Artifact,
  DeadLetterView as DeadLetter,
  EnqueueAnswer as Enqueued,
  JobDetails,
  JobState,
  JobView as Job,
  ListedJob,
  LogView as LogLine,
  Metrics as WorkerMetrics,
  Overview,
  ProgressRow as Progress,
  RetriedView as Retried,
  Run,
  SessionView as Session,
  WorkerView as WorkerInfo,
} from "./schema.gen";

import type { DeadLetterView, JobState, ListedJob } from "./schema.gen";

export type JobFilter = { status?: JobState | undefined; type?: string | undefined; cursor?: string | undefined };
export type DeadLetterPage = { letters: DeadLetterView[]; total: number; next: string | undefined };
export type JobPage = { jobs: ListedJob[]; next: string | undefined };
