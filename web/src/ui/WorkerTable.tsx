import { Link } from "@tanstack/react-router";
import type { WorkerInfo } from "../api/types";
import { count, duration } from "../lib/format";
import { condition, fate, isGone } from "../lib/workers";
import { Empty } from "./Empty";

const SQUARES = 48;

export function NoWorkers() {
  return (
    <Empty title="No workers alive">
      <p>
        Start one: <code>workqueue worker</code>
      </p>
    </Empty>
  );
}

/** Those that are gone come below the others. */
export function WorkerTable({ workers, short = false }: { workers: WorkerInfo[]; short?: boolean }) {
  const inOrder = [...workers.filter((worker) => !isGone(worker)), ...workers.filter(isGone)];
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <section className="table-scroll" aria-label="Workers and their slots" tabIndex={0}>
      <table className="workers">
        <thead>
          <tr>
            <th scope="col">Worker</th>
            <th scope="col">Slots</th>
            <th scope="col" className="number">
              Done
            </th>
            <th scope="col" className="number">
              Failed
            </th>
            {!short && (
              <>
                <th scope="col" className="number">
                  Uptime
                </th>
                <th scope="col" className="number">
                  Last seen
                </th>
              </>
            )}
          </tr>
        </thead>
        <tbody>
          {inOrder.map((worker) => (
            <Row worker={worker} short={short} key={worker.id} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Row({ worker, short }: { worker: WorkerInfo; short: boolean }) {
  const says = condition(worker);
  return (
    <tr className={isGone(worker) ? "stale" : undefined}>
      <td>
        <strong>{worker.name}</strong> <span className="faint">{worker.version}</span>
        {says && (
          <>
            {" "}
            <span className="condition">{says}</span>
          </>
        )}
        {!short && <div className="faint">{worker.types.join(", ")}</div>}
      </td>
      <td>
        {isGone(worker) ? (
          <span className="faint">{fate(worker.became)}</span>
        ) : (
          <>
            <Slots worker={worker} />
            {!short && <Running worker={worker} />}
          </>
        )}
      </td>
      <td className="number">{count(worker.jobs_done)}</td>
      <td className="number">{count(worker.jobs_failed)}</td>
      {!short && (
        <>
          <td className="number">{duration(worker.uptime_seconds)}</td>
          <td className="number">{duration(worker.seen_seconds_ago)} ago</td>
        </>
      )}
    </tr>
  );
}

/** One square for each slot, filled while it is in use. */
function Slots({ worker }: { worker: WorkerInfo }) {
  const busy = worker.running.length;
  const shown = Math.min(worker.concurrency, SQUARES);
  return (
    <div className="slots" role="img" aria-label={`${busy} of ${worker.concurrency} slots in use`}>
      {Array.from({ length: shown }, (_, slot) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: squares have no identity
        <i key={slot} className={slot < Math.round((busy / worker.concurrency) * shown) ? "busy" : undefined} />
      ))}
      <span className="faint">
        {busy} of {worker.concurrency}
      </span>
    </div>
  );
}

function Running({ worker }: { worker: WorkerInfo }) {
  return (
    <ul className="running">
      {worker.running.slice(0, 10).map((job) => (
        <li key={job.job_id}>
          <Link to="/jobs/$id" params={{ id: job.job_id }}>
            {job.type}
          </Link>{" "}
          <span className="faint">for {duration(job.seconds)}</span>
        </li>
      ))}
      {worker.running.length > 10 && <li className="faint">and {worker.running.length - 10} more</li>}
    </ul>
  );
}
