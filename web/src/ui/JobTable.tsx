import { Link, useNavigate } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import type { ListedJob } from "../api/types";
import { useKeys } from "../app/keys";
import { between, duration } from "../lib/format";
import { oneLine } from "../lib/json";
import { useNow } from "../lib/now";
import { shownState } from "../lib/state";
import { Ago } from "./Ago";
import { State } from "./State";

/** Rows of jobs; with `keys`, j and k select one and Enter opens it. */
export function JobTable({ jobs, keys = false }: { jobs: ListedJob[]; keys?: boolean }) {
  const now = useNow();
  const navigate = useNavigate();
  const [selected, setSelected] = useState<string | null>(null);
  const move = (step: number) => {
    const index = jobs.findIndex((job) => job.id === selected);
    const next = jobs[index < 0 ? 0 : Math.min(jobs.length - 1, Math.max(0, index + step))];
    if (next) setSelected(next.id);
  };
  const open = () => {
    if (selected) void navigate({ to: "/jobs/$id", params: { id: selected } });
  };
  useKeys(
    keys
      ? {
          j: () => move(1),
          k: () => move(-1),
          Enter: open,
        }
      : {},
  );
  useEffect(() => {
    if (selected) document.getElementById(`job-${selected}`)?.scrollIntoView({ block: "nearest" });
  }, [selected]);
  return (
    <div className="table-scroll">
      <table className="jobs">
        <thead>
          <tr>
            <th scope="col">State</th>
            <th scope="col">Type</th>
            <th scope="col" className="wide">
              Payload or error
            </th>
            <th scope="col" className="number">
              Attempts
            </th>
            <th scope="col" className="number">
              Ran
            </th>
            <th scope="col" className="number">
              Created
            </th>
          </tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <tr key={job.id} id={`job-${job.id}`} className={job.id === selected ? "selected" : undefined}>
              <td>
                <State state={shownState(job, now)} />
              </td>
              <td>
                <Link to="/jobs/$id" params={{ id: job.id }} className="type">
                  {job.type}
                </Link>
              </td>
              <td className="wide mono">{job.error_message ?? summary(job)}</td>
              <td className="number">{job.attempts ? `${job.attempts} of ${job.retries + 1}` : "–"}</td>
              <td className="number">{ran(job, now)}</td>
              <td className="number">
                <Ago time={job.created_at} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function summary(job: ListedJob): string {
  const text = job.payload_start ?? oneLine(job.payload).slice(1, -1);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

function ran(job: ListedJob, now: number): string {
  if (job.status === "processing" && job.started_at) return duration((now - Date.parse(job.started_at)) / 1000);
  const seconds = between(job.started_at, job.finished_at);
  return seconds === null || job.status === "pending" ? "–" : duration(seconds);
}
