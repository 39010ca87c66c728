import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { WORKER } from "../api/client";
import { jobsQuery, overviewQuery, workerMetricsQuery, workersQuery } from "../api/queries";
import type { Overview } from "../api/types";
import { useHistory } from "../app/history";
import { useLive } from "../app/live";
import { count } from "../lib/format";
import { rates } from "../lib/rates";
import { isGone } from "../lib/workers";
import { Card } from "../ui/Card";
import { Chart } from "../ui/Chart";
import { Icon } from "../ui/Icon";
import { JobTable } from "../ui/JobTable";
import { Loaded } from "../ui/Loaded";
import { NoJobs } from "../ui/NoJobs";
import { NoWorkers, WorkerTable } from "../ui/WorkerTable";

export function OverviewPage() {
  const { live } = useLive();
  const overview = useQuery(overviewQuery(live));
  const jobs = useQuery(jobsQuery({}, live, 8));
  const failed = useQuery(jobsQuery({ status: "failed" }, live, 5));
  const workers = useQuery(workersQuery(live));
  const data = overview.data;
  return (
    <div className="page">
      <div className="title">
        <h1>Overview</h1>
        {data && <Dependencies overview={data} />}
      </div>
      <Loaded query={overview} rows={2}>
        {(found) => (
          <>
            <Banner overview={found} />
            <Tiles overview={found} />
          </>
        )}
      </Loaded>
      <History />
      <div className="columns">
        <div>
          {failed.data && failed.data.jobs.length > 0 && (
            <Card
              title="Latest failures"
              aside={
                <Link to="/jobs" search={{ status: "failed" }}>
                  All failures
                </Link>
              }
            >
              <JobTable jobs={failed.data.jobs} />
            </Card>
          )}
          <Card title="Latest jobs" aside={<Link to="/jobs">All jobs</Link>}>
            <Loaded
              query={jobs}
              isEmpty={(page) => page.jobs.length === 0}
              empty={<NoJobs stored={data?.postgres !== null} />}
              quiet
            >
              {(page) => <JobTable jobs={page.jobs} />}
            </Loaded>
          </Card>
        </div>
        <div>
          <Card title="Workers" aside={<Link to="/workers">All workers</Link>}>
            <Loaded query={workers} isEmpty={(found) => found.every(isGone)} empty={<NoWorkers />} rows={3} quiet>
              {(found) => <WorkerTable workers={found.filter((worker) => !isGone(worker)).slice(0, 8)} short />}
            </Loaded>
          </Card>
          {WORKER && <OneWorker />}
        </div>
      </div>
    </div>
  );
}

function Dependencies({ overview }: { overview: Overview }) {
  const shown = (name: string, ms: number | null) => `${name} ${ms === null ? "" : `${ms.toFixed(1)} ms`}`;
  return (
    <span className="aside">
      {shown("Redis", overview.redis.ms)}
      {overview.postgres ? ` · ${shown("Postgres", overview.postgres.ms)}` : " · no Postgres"}
    </span>
  );
}

/** What is wrong, one sentence for each fault; nothing where all is well. */
function Banner({ overview }: { overview: Overview }) {
  const faults = [overview.redis, overview.postgres].flatMap((health) => (health && !health.ok ? [health.error] : []));
  if (faults.length === 0 && overview.workers === 0 && (overview.waiting ?? 0) > 0)
    faults.push("Tasks are waiting and no workers are alive. Start one with `workqueue worker`");
  return faults.map((fault) => (
    <div className="banner" role="alert" key={fault}>
      <Icon name="warning" />
      {fault}
    </div>
  ));
}

function Tiles({ overview }: { overview: Overview }) {
  const tiles: [string, React.ReactNode, string][] = [
    ["Waiting", count(overview.waiting), `${count(overview.scheduled)} scheduled`],
    ["Running", count(overview.running), `of ${count(overview.concurrency)} slots`],
    ["Done", count(overview.jobs_done), "since the workers started"],
    ["Failed", count(overview.jobs_failed), "since the workers started"],
    [
      "Dead letters",
      <Link key="dead" to="/dead">
        {count(overview.dead)}
      </Link>,
      overview.postgres ? "tasks that cannot run" : "failed jobs, invalid tasks",
    ],
    ["Workers", count(overview.workers), "alive now"],
  ];
  return (
    <dl className="tiles">
      {tiles.map(([name, value, note]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd className={name === "Failed" && (overview.jobs_failed ?? 0) > 0 ? "bad" : undefined}>{value}</dd>
          <dd className="note">{note}</dd>
        </div>
      ))}
    </dl>
  );
}

function History() {
  const samples = useHistory();
  const history = useMemo(() => rates(samples), [samples]);
  const speed = useMemo(
    () => [
      { label: "completed", colour: "--completed", values: history.done },
      { label: "failed", colour: "--failed", dash: [4, 3], values: history.failed },
    ],
    [history],
  );
  const waiting = useMemo(() => [{ label: "waiting", colour: "--pending", values: history.waiting }], [history]);
  const last = (values: number[]) => (values.at(-1) ?? 0).toLocaleString("en", { maximumFractionDigits: 1 });
  return (
    <div className="charts">
      <Card
        title="Jobs per second"
        aside={
          <>
            <i className="key completed" /> done <b>{last(history.done)}</b> <i className="key failed" /> failed{" "}
            <b>{last(history.failed)}</b>
          </>
        }
      >
        <Chart times={history.times} lines={speed} label="Jobs per second since this page was opened" />
        <p className="note">Since this page was opened.</p>
      </Card>
      <Card
        title="Waiting tasks"
        aside={
          <>
            <i className="key pending" /> waiting <b>{last(history.waiting)}</b>
          </>
        }
      >
        <Chart times={history.times} lines={waiting} label="Waiting tasks since this page was opened" />
        <p className="note">Since this page was opened.</p>
      </Card>
    </div>
  );
}

/** The worker of VITE_WORKER_URL, in one line. */
function OneWorker() {
  const { live } = useLive();
  const { data, error } = useQuery(workerMetricsQuery(live));
  if (error) return <p className="note">The worker at {WORKER} cannot be reached from here.</p>;
  return data ? (
    <p className="note">
      The worker at {WORKER}: {count(data.jobs_done)} done, {count(data.jobs_failed)} failed.
    </p>
  ) : null;
}
