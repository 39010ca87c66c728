import { useIsMutating, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useState } from "react";
import { API } from "../api/client";
import { actKey, jobQuery, logsQuery } from "../api/queries";
import type { Artifact, JobDetails, LogLine, Progress, Run } from "../api/types";
import { useLive } from "../app/live";
import { between, bytes, duration } from "../lib/format";
import { pretty } from "../lib/json";
import { useNow } from "../lib/now";
import { type ShownState, shownState } from "../lib/state";
import { Acts } from "../ui/Acts";
import { Ago } from "../ui/Ago";
import { Card } from "../ui/Card";
import { Copy } from "../ui/Copy";
import { Json } from "../ui/Json";
import { Loaded } from "../ui/Loaded";
import { State, StateMark } from "../ui/State";

const route = getRouteApi("/jobs/$id");

export function JobPage() {
  const { id } = route.useParams();
  const job = useQuery(jobQuery(id, useIsRefreshed(id)));
  return (
    <div className="page">
      <Loaded query={job} rows={10}>
        {(found) => <JobView job={found} />}
      </Loaded>
      {!job.data && job.error && (
        <p>
          <Link to="/jobs">All jobs</Link>
        </p>
      )}
    </div>
  );
}

/** Whether a job is asked for again and again: not while something is done to it, which may be its deletion. */
function useIsRefreshed(id: string): boolean {
  const { live } = useLive();
  const acting = useIsMutating({ mutationKey: actKey(id) });
  return live && acting === 0;
}

/** One job with its runs, artifacts, payload and result. */
export function JobView({ job }: { job: JobDetails }) {
  const now = useNow();
  const facts: [string, React.ReactNode][] = [
    ["queue", job.queue],
    ...(job.group ? ([["group", job.group]] as [string, string][]) : []),
    ["created", <Ago key="c" time={job.created_at} />],
    ["attempts", `${job.attempts} of ${job.retries + 1}`],
    ["worker", job.worker ?? "–"],
  ];
  const seconds = job.status === "pending" && job.run_at ? (Date.parse(job.run_at) - now) / 1000 : 0;
  if (seconds > 0) facts.push(["runs again", `in ${duration(Math.ceil(seconds))}`]); // otherwise it is due, or running
  if (job.timeout !== null) facts.push(["timeout", duration(job.timeout)]);
  const left = job.status === "pending" && job.expires_at ? (Date.parse(job.expires_at) - now) / 1000 : null;
  if (left !== null) facts.push(["expires", left > 0 ? `in ${duration(Math.ceil(left))}` : "now"]);
  if (job.recoveries) facts.push(["worker died", `${job.recoveries} times`]);
  if (job.interruptions) facts.push(["interrupted", `${job.interruptions} times`]);
  if (job.progress && job.status !== "completed")
    facts.push(["progress", <ProgressBar key="p" progress={job.progress} />]);
  return (
    <>
      <div className="title job-title">
        <h1>
          <Link to="/jobs">Jobs</Link> / {job.type} <State state={shownState(job, now)} />
        </h1>
        <Acts job={job} now={now} />
      </div>
      <dl className="facts">
        <div>
          <dt>id</dt>
          <dd className="mono">
            {job.id} <Copy text={job.id} label="Copy the id" />
          </dd>
        </div>
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <div className="columns even">
        <div>
          <Card title="Attempts" aside={runCount(job.runs)}>
            <Runs runs={job.runs} createdAt={job.created_at} />
          </Card>
          <Logs job={job} />
          {job.artifacts.map((artifact) => (
            <ArtifactCard key={artifact.name} id={job.id} artifact={artifact} />
          ))}
        </div>
        <div>
          <Card title="Payload" aside={<Copy text={pretty(job.payload)} />}>
            <Json value={job.payload} />
          </Card>
          <Card title="Result" {...(job.status === "completed" ? { aside: <Copy text={pretty(job.result)} /> } : {})}>
            {job.status === "completed" ? (
              <Json value={job.result} />
            ) : (
              <p className="note">{job.error_message ?? "No result yet. It appears here when the job completes."}</p>
            )}
          </Card>
        </div>
      </div>
    </>
  );
}

function ProgressBar({ progress }: { progress: Progress }) {
  const percent = `${Math.floor(progress.fraction * 100)} %`;
  return (
    <span className="progress">
      <progress max={1} value={progress.fraction} aria-label="Progress" /> {percent} {progress.text}
    </span>
  );
}

/** What the handler has logged; nothing where it logs nothing. */
function Logs({ job }: { job: JobDetails }) {
  const lines = useQuery(logsQuery(job.id, job.status, useIsRefreshed(job.id))).data ?? [];
  if (lines.length === 0) return null;
  const text = lines.map((line) => `${line.at} ${line.text}`).join("\n");
  return (
    <Card title="Log" aside={<Copy text={text} />}>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
      <pre className="log" tabIndex={0}>
        {lines.map((line, at) => (
          <LogRow key={line.number} line={line} isNewRun={line.run !== (lines[at - 1]?.run ?? 1)} />
        ))}
      </pre>
    </Card>
  );
}

function LogRow({ line, isNewRun }: { line: LogLine; isNewRun: boolean }) {
  return (
    <>
      {isNewRun && <span className="faint">{`run ${line.run}\n`}</span>}
      <time dateTime={line.at} className="faint">
        {line.at.slice(11, 23).padEnd(12, "0")}
      </time>
      {` ${line.text}\n`}
    </>
  );
}

const SHAPE: Record<string, ShownState> = {
  completed: "completed",
  running: "processing",
  interrupted: "retrying",
  cancelled: "cancelled",
};

/** The number of the last run is their count; a job comes with its newest runs only. */
function runCount(runs: Run[]): string {
  const count = Math.max(runs.at(-1)?.number ?? 0, runs.length);
  const shown = count > runs.length ? `, the newest ${runs.length} are shown` : "";
  return `${count} ${count === 1 ? "run" : "runs"}${shown}`;
}

/** All runs on one time axis: from the job's creation to the end of the last. */
function Runs({ runs, createdAt }: { runs: Run[]; createdAt: string }) {
  const now = useNow();
  const failed = runs.filter((run) => run.error).at(-1)?.number ?? null;
  const [open, setOpen] = useState<number | null | undefined>(undefined);
  const opened = open === undefined ? failed : open;
  if (runs.length === 0) return <p className="note">Not started yet.</p>;
  const begin = Date.parse(createdAt);
  const end = Math.max(...runs.map((run) => (run.ended_at ? Date.parse(run.ended_at) : now)), begin + 1);
  const place = (time: string | null) => (((time ? Date.parse(time) : now) - begin) / (end - begin)) * 100;
  return (
    <ol className="runs">
      {runs.map((run) => {
        const left = Math.max(0, Math.min(99.5, place(run.started_at)));
        const width = Math.max(0.5, place(run.ended_at) - left);
        const seconds = between(run.started_at, run.ended_at ?? new Date(now).toISOString());
        const isOpen = opened === run.number;
        return (
          <li key={run.number} className={isOpen ? "open" : undefined}>
            <button
              type="button"
              aria-expanded={isOpen}
              disabled={!run.error}
              onClick={() => setOpen(isOpen ? null : run.number)}
            >
              <StateMark state={SHAPE[run.outcome] ?? "failed"} />
              <span className="run-name">run {run.number}</span>
              <svg className="axis" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
                <rect className="waited" x="0" y="4.5" width={left} height="1" />
                <rect className={SHAPE[run.outcome] ?? "failed"} x={left} y="1" width={width} height="8" rx="0.4" />
              </svg>
              <span className="run-outcome">{run.outcome}</span>
              <span className="number">{seconds === null ? "–" : duration(seconds)}</span>
            </button>
            {isOpen && (
              <div className="trace">
                <p className="trace-error">
                  {run.error} <Copy text={run.traceback ?? run.error ?? ""} />
                </p>
                <p className="faint">{run.worker ?? "no worker"}</p>
                {run.traceback && (
                  // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
                  <pre tabIndex={0}>{run.traceback}</pre>
                )}
              </div>
            )}
          </li>
        );
      })}
    </ol>
  );
}

function ArtifactCard({ id, artifact }: { id: string; artifact: Artifact }) {
  const url = `${API}/api/jobs/${encodeURIComponent(id)}/artifact?name=${encodeURIComponent(artifact.name)}`;
  const kind = artifact.content_type.split(";")[0];
  return (
    <Card
      title={artifact.name}
      aside={
        <>
          {kind}, {bytes(artifact.bytes)} <a href={url}>Open</a>
        </>
      }
    >
      {kind && ["image/png", "image/jpeg", "image/gif", "image/webp"].includes(kind) && (
        <img className="artifact" src={url} alt={`Artifact ${artifact.name}`} />
      )}
      {kind === "application/pdf" && API === "" && <iframe className="artifact" src={url} title={artifact.name} />}
    </Card>
  );
}
