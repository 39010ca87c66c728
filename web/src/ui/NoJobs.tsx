import { Link } from "@tanstack/react-router";
import { API } from "../api/client";
import { Copy, Empty } from "./parts";

/** What to do where there is nothing yet. */
export function NoJobs({ stored }: { stored: boolean }) {
  const base = API || window.location.origin;
  const curl = `curl -X POST ${base}/enqueue -d '{"type": "generate_pdf", "payload": {"title": "Hello"}}'`;
  if (!stored)
    return (
      <Empty title="Jobs are not stored here">
        <p>
          Jobs run without Postgres, and the overview and the workers are shown; the list of jobs needs rows. Set{" "}
          <code>DATABASE_URL</code> on the producer and on the workers, and start them again.
        </p>
      </Empty>
    );
  return (
    <Empty title="No job yet">
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
