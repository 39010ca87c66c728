import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { createMemoryHistory, createRouter, RouterProvider } from "@tanstack/react-router";
import { cleanup, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, expect, test, vi } from "vitest";
import { HistoryProvider } from "../app/history";
import { LiveProvider } from "../app/live";
import { router } from "../app/router";

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

const OVERVIEW = {
  queue_name: "workqueue:jobs",
  version: "1.2.3",
  waiting: 5,
  oldest_seconds: 2,
  scheduled: 0,
  dead: 0,
  redis: { ok: true, ms: 0.3, error: null },
  postgres: { ok: true, ms: 1.1, error: null },
  workers: 0,
  concurrency: 0,
  running: 0,
  jobs_done: 0,
  jobs_failed: 0,
};

const JOB = {
  id: "0199c2f4-7d1e-7b52-8c0a-4f1d22aa9e31",
  type: "send_email",
  status: "failed",
  queue: "default",
  timeout: null,
  expires_at: null,
  retries: 2,
  attempts: 3,
  recoveries: 0,
  interruptions: 0,
  payload: { to: "a@example.com" },
  error_message: "ValueError: no",
  created_at: "2026-11-24T12:00:00Z",
  updated_at: "2026-11-24T12:00:09Z",
  run_at: null,
  worker: "host.1",
  started_at: "2026-11-24T12:00:08Z",
  finished_at: "2026-11-24T12:00:09Z",
  cancelling: false,
};

const DETAILS = {
  ...JOB,
  result: null,
  progress: null,
  artifacts: [{ name: "a.png", content_type: "image/png", bytes: 75 }],
  runs: [1, 2, 3].map((number) => ({
    number,
    worker: "host.1",
    started_at: `2026-11-24T12:00:0${number}Z`,
    ended_at: `2026-11-24T12:00:0${number + 1}Z`,
    outcome: "failed",
    error: `ValueError: run ${number}`,
    traceback: `Traceback of run ${number}`,
  })),
};

type Answers = Record<string, () => Response>;

/** The page at `path`, with a server that answers by the beginning of the path. */
function show(path: string, answers: Answers) {
  const all: Answers = {
    "/api/overview": () => Response.json(OVERVIEW),
    "/api/workers": () => Response.json([]),
    "/api/jobs": () => Response.json([]),
    ...answers,
  };
  const isLog = (url: string) => /\/logs$/.test(url) && !(url in all);
  const fetched = vi.fn(async (url: string, _init?: RequestInit) => {
    if (isLog(url)) return Response.json([]);
    const key = Object.keys(all)
      .sort((a, b) => b.length - a.length)
      .find((start) => url.startsWith(start));
    return (key && all[key]?.()) || new Response("not found", { status: 404 });
  });
  vi.stubGlobal("fetch", fetched);
  const client = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  const history = createMemoryHistory({ initialEntries: [path] });
  const page = createRouter({ routeTree: router.routeTree, history });
  render(
    <QueryClientProvider client={client}>
      <LiveProvider>
        <HistoryProvider>
          <RouterProvider router={page as unknown as typeof router} />
        </HistoryProvider>
      </LiveProvider>
    </QueryClientProvider>,
  );
  return fetched;
}

test("the filter of the URL reaches the server, and the rows are shown", async () => {
  const fetched = show("/jobs?status=failed&type=send_email", { "/api/jobs": () => Response.json([JOB]) });
  expect(await screen.findByText("ValueError: no")).toBeTruthy();
  expect(fetched.mock.calls.map(([url]) => url)).toContain("/api/jobs?limit=50&status=failed&type=send_email");
});

test("an empty list says what to do", async () => {
  show("/jobs", {});
  expect(await screen.findByText("No jobs yet")).toBeTruthy();
  expect(screen.getByText(/curl -X POST/)).toBeTruthy();
});

test("where a filter hides everything it can be removed", async () => {
  show("/jobs?status=cancelled", {});
  expect(await screen.findByText("Remove the filter")).toBeTruthy();
});

test("without Postgres it says what works and what to set", async () => {
  show("/jobs", { "/api/overview": () => Response.json({ ...OVERVIEW, postgres: null }) });
  expect(await screen.findByText("DATABASE_URL")).toBeTruthy();
});

test("the server's message is shown", async () => {
  show("/jobs", { "/api/jobs": () => new Response("failed to list jobs", { status: 500 }) });
  expect((await screen.findByRole("alert")).textContent).toContain("failed to list jobs");
});

test("a job shows its runs, and the last error is open", async () => {
  show(`/jobs/${JOB.id}`, { "/api/jobs/": () => Response.json(DETAILS) });
  expect(await screen.findByText("Traceback of run 3")).toBeTruthy();
  await userEvent.click(screen.getByRole("button", { name: /run 1/ }));
  expect(await screen.findByText("Traceback of run 1")).toBeTruthy();
  expect(screen.getByAltText("Artifact a.png").getAttribute("src")).toBe(`/api/jobs/${JOB.id}/artifact?name=a.png`);
});

test.each([
  ["pending", 3_600_000, true],
  ["pending", -1000, false],
  ["processing", 3_600_000, false],
] as const)("a job that is %s and due in %d ms says when it runs again: %s", async (status, ms, says) => {
  const job = { ...DETAILS, status, attempts: 1, run_at: new Date(Date.now() + ms).toISOString() };
  show(`/jobs/${JOB.id}`, { "/api/jobs/": () => Response.json(job) });
  expect(await screen.findByText("attempts")).toBeTruthy();
  expect(screen.queryByText("runs again") !== null).toBe(says);
});

test("a job of a group says which one, and another one has no line for it", async () => {
  show(`/jobs/${JOB.id}`, { "/api/jobs/": () => Response.json({ ...DETAILS, group: "acme 7" }) });
  expect((await screen.findByText("group")).nextElementSibling?.textContent).toBe("acme 7");
  cleanup();
  show(`/jobs/${JOB.id}`, { "/api/jobs/": () => Response.json({ ...DETAILS, group: null }) });
  expect(await screen.findByText("queue")).toBeTruthy();
  expect(screen.queryByText("group")).toBeNull();
});

test("the overview says that tasks wait and no workers are alive", async () => {
  show("/", {});
  expect((await screen.findByRole("alert")).textContent).toContain("no workers are alive");
});

test("a wrong payload cannot be sent, a right one is sent as it was typed", async () => {
  const fetched = show("/new", {
    "/enqueue": () => Response.json({ status: "queued", type: "x", retries: 3, queue_name: "q", job_id: JOB.id }),
    "/api/jobs/": () => Response.json({ ...DETAILS, status: "completed", result: 1, error_message: null }),
  });
  const payload = await screen.findByLabelText("Payload (JSON)");
  const send = screen.getAllByRole("button", { name: "Enqueue" }).at(-1) as HTMLButtonElement;
  await userEvent.clear(payload);
  await userEvent.type(payload, "[[1]");
  expect(send.disabled).toBe(true);
  await userEvent.clear(payload);
  await userEvent.type(payload, '{{"n": 12345678901234567890}');
  expect(send.disabled).toBe(false);
  await userEvent.click(send);
  expect(await screen.findByText(JOB.id)).toBeTruthy();
  const sent = fetched.mock.calls.find(([url]) => url === "/enqueue")?.[1]?.body;
  expect(sent).toBe('{"type":"send_email","retries":3,"payload":{"n": 12345678901234567890}}');
  screen.getByText(/Filled in here: 3\./);
  expect(await screen.findByText("completed")).toBeTruthy();
});

test("a job is sent with the queue and the group that were typed", async () => {
  const fetched = show("/new", {
    "/enqueue": () => Response.json({ status: "queued", type: "x", retries: 3, queue_name: "q", job_id: JOB.id }),
  });
  const payload = await screen.findByLabelText("Payload (JSON)");
  await userEvent.clear(payload);
  await userEvent.type(payload, "{{}");
  const group = screen.getByLabelText(/^Group/);
  await userEvent.type(screen.getByLabelText("Queue"), "low");
  await userEvent.click(group);
  await userEvent.paste("x".repeat(201));
  const send = screen.getAllByRole("button", { name: "Enqueue" }).at(-1) as HTMLButtonElement;
  expect(send.disabled).toBe(true);
  screen.getByText("At most 200 characters.");
  await userEvent.clear(group);
  await userEvent.type(group, " acme 7 ");
  await userEvent.click(send);
  expect(await screen.findByText(JOB.id)).toBeTruthy();
  const sent = fetched.mock.calls.find(([url]) => url === "/enqueue")?.[1]?.body;
  expect(sent).toBe('{"type":"send_email","retries":3,"payload":{},"queue":"low","group":"acme 7"}');
});

const WORKER = {
  id: "0199c2f4-7d1e-4b52-8c0a-4f1d22aa9e31",
  name: "host.1",
  host: "host",
  pid: 1,
  version: "1.2.3",
  concurrency: 4,
  types: ["of_the_living"],
  running: [{ job_id: JOB.id, type: "send_email", seconds: 2 }],
  jobs_done: 3,
  jobs_failed: 0,
  uptime_seconds: 60,
  seen_seconds_ago: 1,
  state: "working",
  asked: null,
  ended_at: null,
  became: null,
};
const GONE = {
  ...WORKER,
  id: "gone",
  name: "host.2",
  types: ["of_the_gone"],
  running: [],
  state: "gone",
  ended_at: "2026-11-24T12:00:00Z",
  became: { given_back: 3, failed: 1, cancelled: 0 },
};

test("workers that are gone are muted below the others, with what became of their jobs", async () => {
  const quiet = { ...WORKER, id: "quiet", name: "host.3", state: "quiet", asked: "stop", running: [] };
  const silent = { ...WORKER, id: "silent", name: "host.4", state: "silent" };
  show("/workers", { "/api/workers": () => Response.json([GONE, WORKER, quiet, silent]) });
  const rows = (await screen.findAllByRole("row")).slice(1);
  expect(rows.map((row) => row.querySelector("strong")?.textContent)).toEqual(["host.1", "host.3", "host.4", "host.2"]);
  expect(rows.map((row) => row.className)).toEqual(["", "", "", "stale"]);
  expect(rows[0]?.querySelector(".condition")).toBeNull();
  expect(rows[1]?.textContent).toContain("quiet, asked to stop");
  expect(rows[3]?.textContent).toContain("Its jobs: 3 given back, 1 failed");
  expect(rows[3]?.querySelector(".slots")).toBeNull();
  expect(screen.getByText("1 of 8 slots in use")).toBeTruthy();
});

test("where all workers are gone none is alive", async () => {
  const stopped = { ...GONE, state: "stopped", became: { given_back: 0, failed: 0, cancelled: 0 } };
  show("/workers", { "/api/workers": () => Response.json([stopped]) });
  expect(await screen.findByText("No workers alive")).toBeTruthy();
  expect(screen.getByText("It had no jobs left")).toBeTruthy();
  cleanup();
  show("/", { "/api/workers": () => Response.json([stopped]) });
  expect(await screen.findByText("No workers alive")).toBeTruthy();
  expect(screen.queryByText("host.2")).toBeNull();
});

test("types of workers that are gone are not offered", async () => {
  show("/new", { "/api/workers": () => Response.json([WORKER, GONE]) });
  await vi.waitFor(() => expect(document.querySelector('option[value="of_the_living"]')).toBeTruthy());
  expect(document.querySelector('option[value="of_the_gone"]')).toBeNull();
});

test("p pauses and shows the age of the data", async () => {
  show("/workers", {});
  expect(await screen.findByText("No workers alive")).toBeTruthy();
  await userEvent.keyboard("p");
  expect(await screen.findByText(/paused, data from/)).toBeTruthy();
});

test("a failed job offers what can be done to it, and retries with one click", async () => {
  const fetched = show(`/jobs/${JOB.id}`, { [`/api/jobs/${JOB.id}`]: () => Response.json(DETAILS) });
  expect(screen.queryByRole("button", { name: "Cancel" })).toBeNull();
  await userEvent.click(await screen.findByRole("button", { name: "Retry" }));
  const call = fetched.mock.calls.find(([, init]) => init?.method === "POST");
  expect(call?.[0]).toBe(`/api/jobs/${JOB.id}/retry`);
  expect(new Headers(call?.[1]?.headers).get("Content-Type")).toBe("application/json");
});

test("deleting asks first, and then leads back to the list", async () => {
  const fetched = show(`/jobs/${JOB.id}`, { [`/api/jobs/${JOB.id}`]: () => Response.json(DETAILS) });
  await userEvent.click(await screen.findByRole("button", { name: "Delete" }));
  expect(fetched.mock.calls.some(([, init]) => init?.method === "DELETE")).toBe(false);
  await userEvent.click(screen.getByRole("button", { name: "Delete for good?" }));
  expect(await screen.findByRole("heading", { name: "Jobs" })).toBeTruthy();
  expect(fetched.mock.calls.some(([, init]) => init?.method === "DELETE")).toBe(true);
});

test("why an act was refused is shown", async () => {
  show(`/jobs/${JOB.id}`, {
    [`/api/jobs/${JOB.id}`]: () => Response.json(DETAILS),
    [`/api/jobs/${JOB.id}/retry`]: () => new Response("only a failed or cancelled job can be retried", { status: 409 }),
  });
  await userEvent.click(await screen.findByRole("button", { name: "Retry" }));
  expect((await screen.findByRole("alert")).textContent).toContain("only a failed or cancelled job can be retried");
});

test("a job that is being cancelled says so, and cannot be cancelled again", async () => {
  const running = { ...DETAILS, status: "processing", cancelling: true, finished_at: null };
  show(`/jobs/${JOB.id}`, { [`/api/jobs/${JOB.id}`]: () => Response.json(running) });
  expect(await screen.findByText("being cancelled")).toBeTruthy();
  expect(screen.queryByRole("button", { name: "Cancel" })).toBeNull();
});

const LETTER = {
  id: "00000000000000aa",
  at: "2026-11-24T12:00:00Z",
  reason: "ValueError: no",
  type: "send_email",
  job_id: JOB.id,
  is_task: true,
  task: '{"type":"send_email","payl',
  task_bytes: 34,
  encoding: "text",
};
const FOREIGN = { ...LETTER, id: "00000000000000bb", at: null, reason: null, type: null, is_task: false, task: "_w==" };
const dead = (...letters: object[]) => Response.json(letters, { headers: { "X-Total-Count": "51" } });
const bodyOf = (fetched: ReturnType<typeof show>, method: string) =>
  fetched.mock.calls.filter(([, init]) => init?.method === method).map(([url, init]) => [url, init?.body]);

test("dead letters are shown with their reasons, and a task whole on request", async () => {
  const fetched = show("/dead", {
    "/api/dead": () => dead(LETTER, { ...FOREIGN, task_bytes: 1, encoding: "base64" }),
    [`/api/dead/${LETTER.id}`]: () => Response.json({ ...LETTER, task: '{"type":"send_email","payload":{}}' }),
  });
  expect(await screen.findByText("ValueError: no")).toBeTruthy();
  expect(screen.getByText("51 in all")).toBeTruthy();
  expect(screen.getByText(/another program has put it here/)).toBeTruthy();
  expect(screen.getByText(/no text: shown in base64/)).toBeTruthy();
  expect(screen.getAllByRole("button", { name: "Retry" })).toHaveLength(1);
  await userEvent.click(screen.getByRole("button", { name: "Show all of it" }));
  expect(await screen.findByText('{"type":"send_email","payload":{}}')).toBeTruthy();
  expect(screen.queryByRole("button", { name: "Show all of it" })).toBeNull();
  expect(fetched.mock.calls.map(([url]) => url)).toContain("/api/dead?limit=50");
});

test("a dead letter is retried with one click, and deleted with two", async () => {
  const fetched = show("/dead", {
    "/api/dead": () => dead(LETTER),
    "/api/dead/retry": () => Response.json({ retried: 1, kept: 0, reasons: [], missing: [], left: 0 }),
  });
  await userEvent.click(await screen.findByRole("button", { name: "Retry" }));
  expect(bodyOf(fetched, "POST")).toEqual([["/api/dead/retry", `{"ids":["${LETTER.id}"]}`]]);
  await userEvent.click(await screen.findByRole("button", { name: "Delete" }));
  expect(bodyOf(fetched, "DELETE")).toEqual([]);
  await userEvent.click(screen.getByRole("button", { name: "Delete for good?" }));
  expect(bodyOf(fetched, "DELETE")).toEqual([["/api/dead", `{"ids":["${LETTER.id}"]}`]]);
  expect(screen.queryByRole("alert")).toBeNull();
});

test("why a dead letter stays is shown", async () => {
  const reasons = [{ id: LETTER.id, why: "job x is completed" }];
  show("/dead", {
    "/api/dead": () => dead(LETTER),
    "/api/dead/retry": () => Response.json({ retried: 0, kept: 1, reasons, missing: [], left: 0 }),
  });
  await userEvent.click(await screen.findByRole("button", { name: "Retry" }));
  expect((await screen.findByRole("alert")).textContent).toContain("job x is completed");
});

test("all are retried after a second click, and what became of them stays", async () => {
  let letters = [LETTER];
  const fetched = show("/dead", {
    "/api/dead": () => Response.json(letters, { headers: { "X-Total-Count": String(letters.length) } }),
    "/api/dead/retry": () => {
      letters = [];
      return Response.json({ retried: 1200, kept: 1, reasons: [], missing: [], left: 0 });
    },
  });
  await userEvent.click(await screen.findByRole("button", { name: "Retry all" }));
  expect(bodyOf(fetched, "POST")).toEqual([]);
  await userEvent.click(screen.getByRole("button", { name: "Retry all 1?" }));
  expect(await screen.findByText("1,200 retried, 1 cannot be retried and stays.")).toBeTruthy();
  expect(await screen.findByText("No dead letters")).toBeTruthy();
  expect(bodyOf(fetched, "POST")).toEqual([["/api/dead/retry", '{"all":true}']]);
});

test("the server's message about dead letters is shown", async () => {
  show("/dead", { "/api/dead": () => new Response("failed to list dead letters", { status: 500 }) });
  expect((await screen.findByRole("alert")).textContent).toContain("failed to list dead letters");
});

test.each([
  [null, "failed jobs, invalid tasks"],
  [OVERVIEW.postgres, "tasks that cannot run"],
])("the overview's number leads to the dead letters and says what they are", async (postgres, note) => {
  show("/", { "/api/overview": () => Response.json({ ...OVERVIEW, dead: 38, postgres }) });
  expect((await screen.findByRole("link", { name: "38" })).getAttribute("href")).toBe("/dead");
  expect(screen.getByText(note)).toBeTruthy();
});

test("without Postgres a failed job is said to be a dead letter", async () => {
  show("/jobs", { "/api/overview": () => Response.json({ ...OVERVIEW, postgres: null }) });
  expect((await screen.findByRole("link", { name: "among the dead letters" })).getAttribute("href")).toBe("/dead");
});
