import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { parseJson } from "../lib/json";
import { getJson, nextCursor, request, WORKER } from "./client";
import type {
  Action,
  DeadLetter,
  DeadLetterPage,
  Enqueued,
  JobDetails,
  JobFilter,
  JobPage,
  JobState,
  ListedJob,
  LogLine,
  Overview,
  Retried,
  Session,
  WorkerInfo,
  WorkerMetrics,
} from "./types";

/** Every query of the page: key, fetcher and freshness, once. `live` false: the page is paused. */
const EVERY_MS = 2_000;
const TERMINAL: ReadonlySet<JobState> = new Set(["completed", "failed", "cancelled"]);

export const overviewQuery = (live: boolean) =>
  queryOptions({
    queryKey: ["overview"],
    queryFn: ({ signal }) => getJson<Overview>("/api/overview", signal),
    refetchInterval: live ? EVERY_MS : false,
  });

/** Whose session this is; it ends with the page, or by logging out. */
export const sessionQuery = queryOptions({
  queryKey: ["session"],
  queryFn: ({ signal }) => getJson<Session>("/api/session", signal),
  staleTime: Number.POSITIVE_INFINITY,
});

export const jobsQuery = (filter: JobFilter, live: boolean, limit = 50) =>
  queryOptions({
    queryKey: ["jobs", filter, limit],
    queryFn: async ({ signal }): Promise<JobPage> => {
      const search = new URLSearchParams({ limit: String(limit) });
      for (const [name, value] of Object.entries(filter)) if (value) search.set(name, value);
      const response = await request(`/api/jobs?${search}`, { signal });
      return { jobs: parseJson(await response.text()) as ListedJob[], next: nextCursor(response.headers.get("Link")) };
    },
    refetchInterval: live ? EVERY_MS : false,
    placeholderData: keepPreviousData, // changing the filter must not empty the page
  });

export const jobQuery = (id: string, live: boolean) =>
  queryOptions({
    queryKey: ["job", id],
    queryFn: ({ signal }) => getJson<JobDetails>(`/api/jobs/${encodeURIComponent(id)}`, signal),
    refetchInterval: (query) => (live && !(query.state.data && TERMINAL.has(query.state.data.status)) ? 1_000 : false),
  });

export const deadLettersQuery = (cursor: string | undefined, live: boolean) =>
  queryOptions({
    queryKey: ["dead", "list", cursor],
    queryFn: async ({ signal }): Promise<DeadLetterPage> => {
      const search = new URLSearchParams({ limit: "50", ...(cursor ? { cursor } : {}) });
      const response = await request(`/api/dead?${search}`, { signal });
      const letters = (await response.json()) as DeadLetter[];
      const total = Number(response.headers.get("X-Total-Count") ?? letters.length);
      return { letters, total, next: nextCursor(response.headers.get("Link")) };
    },
    refetchInterval: live ? EVERY_MS : false,
    placeholderData: keepPreviousData,
  });

/** One with its whole task. */
export const deadLetterQuery = (id: string) =>
  queryOptions({
    queryKey: ["dead", "one", id],
    queryFn: ({ signal }) => getJson<DeadLetter>(`/api/dead/${encodeURIComponent(id)}`, signal),
    staleTime: Number.POSITIVE_INFINITY, // its id is made of its bytes
  });

/** The lines that the handler of a job has logged. The last ones are stored just after its end. */
export const logsQuery = (id: string, status: JobState, live: boolean) =>
  queryOptions({
    queryKey: ["logs", id, status],
    queryFn: ({ signal }) => getJson<LogLine[]>(`/api/jobs/${encodeURIComponent(id)}/logs`, signal),
    refetchInterval: (query) => (live && (!TERMINAL.has(status) || query.state.dataUpdateCount < 3) ? 1_000 : false),
    placeholderData: keepPreviousData,
  });

/** What is done to many jobs, until it is done. */
export const actionQuery = (id: string) =>
  queryOptions({
    queryKey: ["action", id],
    queryFn: ({ signal }) => getJson<Action>(`/api/actions/${encodeURIComponent(id)}`, signal),
    refetchInterval: (query) => (query.state.data?.state !== "running" && query.state.data ? false : 500),
  });

export const workersQuery = (live: boolean) =>
  queryOptions({
    queryKey: ["workers"],
    queryFn: ({ signal }) => getJson<WorkerInfo[]>("/api/workers", signal),
    refetchInterval: live ? EVERY_MS : false,
  });

/** One worker's own numbers, where VITE_WORKER_URL names it. */
export const workerMetricsQuery = (live: boolean) =>
  queryOptions({
    queryKey: ["worker metrics"],
    queryFn: ({ signal }) => getJson<WorkerMetrics>(`${WORKER}/metrics`, signal),
    refetchInterval: live ? 10_000 : false,
    enabled: WORKER !== "",
  });

/** `task` is JSON text: its payload is sent as it was typed. */
export async function enqueue(task: string): Promise<Enqueued> {
  return (await (await request("/enqueue", { method: "POST", body: task })).json()) as Enqueued;
}

/** What operates takes JSON alone, which a page of another origin cannot send. */
const OPERATE = { "Content-Type": "application/json" };

export type BulkFilter = Pick<JobFilter, "status" | "type">;
export type Act = "cancel" | "retry" | "run-now" | "delete";

/** Marks that an act on a job is under way: nothing asks for the job meanwhile. */
export const actKey = (id: string) => ["act", id];
/** The keys of all that is asked of one job. */
export const keysOf = (id: string) => [
  ["job", id],
  ["logs", id],
];

/** Change what happens to a job. Raises ApiError with the server's reason where it does not fit the job's state. */
export async function act(id: string, name: Act): Promise<void> {
  const path = `/api/jobs/${encodeURIComponent(id)}`;
  const init = { headers: OPERATE, body: "{}" };
  if (name === "delete") await request(path, { ...init, method: "DELETE" });
  else await request(`${path}/${name}`, { ...init, method: "POST" });
}

/** How many jobs match that an act applies to. */
export async function countMatching(name: Act, filter: BulkFilter): Promise<number> {
  const body = JSON.stringify({ action: name, filter, dry_run: true });
  const answer = await request("/api/jobs/actions", { method: "POST", headers: OPERATE, body });
  return ((await answer.json()) as { matched: number }).matched;
}

/** Ask the workers to do it; the id of the action. */
export async function startAction(name: Act, filter: BulkFilter, expected: number): Promise<string> {
  const body = JSON.stringify({ action: name, filter, expected });
  const answer = await request("/api/jobs/actions", { method: "POST", headers: OPERATE, body });
  return ((await answer.json()) as { id: string }).id;
}

export async function stopAction(id: string): Promise<void> {
  await request(`/api/actions/${encodeURIComponent(id)}/stop`, { method: "POST", headers: OPERATE, body: "{}" });
}

/** Enqueue the task of a dead letter again; without an id that of each. */
export async function retryDeadLetters(id?: string): Promise<Retried> {
  const body = JSON.stringify(id === undefined ? { all: true } : { ids: [id] });
  return (await (await request("/api/dead/retry", { method: "POST", headers: OPERATE, body })).json()) as Retried;
}

export async function deleteDeadLetter(id: string): Promise<void> {
  await request("/api/dead", { method: "DELETE", headers: OPERATE, body: JSON.stringify({ ids: [id] }) });
}
