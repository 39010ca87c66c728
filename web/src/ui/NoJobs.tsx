import { Link } from "@tanstack/react-router";
import { API } from "../api/client";
import { Copy } from "./Copy";
import { Empty } from "./Empty";

/** Instead of an empty list: what to do. */
export function NoJobs({ stored }: { stored: boolean }) {
  const base = API || window.location.origin;
  const curl = `curl -X POST ${base}/enqueue -d '{"type": "generate_pdf", "payload": {"title": "Hello"}}'`;
  if (!stored)
    return (
      <Empty title="Jobs are not stored here">
        <p>
          Jobs run without Postgres, but listing them needs their rows in it. Set <code>DATABASE_URL</code> on the
          producer and on the workers, then restart them.
        </p>
        <p>
          A job that has failed for good is kept all the same, with its error,{" "}
          <Link to="/dead">among the dead letters</Link>.
        </p>
      </Empty>
    );
  return (
    <Empty title="No jobs yet">
      <p>Enqueue one here, or from a terminal:</p>
      <p className="command">
        <code>{curl}</code>
        <Copy text={curl} />
      </p>
      <Link to="/new" className="button primary">
        Enqueue one
      </Link>
    </Empty>
  );
}
