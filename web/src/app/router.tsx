import { createRootRoute, createRoute, createRouter, Link, lazyRouteComponent } from "@tanstack/react-router";
import type { JobState } from "../api/types";
import { isState } from "../lib/state";
import { Empty } from "../ui/Empty";
import { Shell } from "./Shell";

/** The URL is the page's state: each route reads its own search parameters and drops unknown ones. */
export type JobsSearch = { status?: JobState; type?: string; cursor?: string };

function text(value: unknown): string | undefined {
  const given = typeof value === "number" ? String(value) : value;
  return typeof given === "string" && given !== "" && given.length <= 400 ? given : undefined;
}

export function jobsSearch(search: Record<string, unknown>): JobsSearch {
  const type = text(search.type);
  const cursor = text(search.cursor);
  return {
    ...(isState(search.status) ? { status: search.status } : {}),
    ...(type ? { type } : {}),
    ...(cursor ? { cursor } : {}),
  };
}

const root = createRootRoute({
  component: Shell,
  notFoundComponent: () => (
    <Empty title="Page not found">
      <p>
        <Link to="/">Go to the overview</Link>
      </p>
    </Empty>
  ),
});

const overview = createRoute({
  getParentRoute: () => root,
  path: "/",
  component: lazyRouteComponent(() => import("../pages/Overview"), "OverviewPage"),
});
const jobs = createRoute({
  getParentRoute: () => root,
  path: "/jobs",
  validateSearch: jobsSearch,
  component: lazyRouteComponent(() => import("../pages/Jobs"), "JobsPage"),
});
const job = createRoute({
  getParentRoute: () => root,
  path: "/jobs/$id",
  component: lazyRouteComponent(() => import("../pages/Job"), "JobPage"),
});
const dead = createRoute({
  getParentRoute: () => root,
  path: "/dead",
  validateSearch: (search: Record<string, unknown>): { cursor?: string } => {
    const cursor = text(search.cursor);
    return cursor ? { cursor } : {};
  },
  component: lazyRouteComponent(() => import("../pages/Dead"), "DeadPage"),
});
const workers = createRoute({
  getParentRoute: () => root,
  path: "/workers",
  component: lazyRouteComponent(() => import("../pages/Workers"), "WorkersPage"),
});
const enqueue = createRoute({
  getParentRoute: () => root,
  path: "/new", // not /enqueue: there the API answers, and a reload would meet it
  component: lazyRouteComponent(() => import("../pages/Enqueue"), "EnqueuePage"),
});

export const router = createRouter({
  routeTree: root.addChildren([overview, jobs, job, dead, workers, enqueue]),
  defaultPreload: "intent",
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
