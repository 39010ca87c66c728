import { useQuery } from "@tanstack/react-query";
import { workersQuery } from "../api/queries";
import { useLive } from "../app/live";
import { isAlive, isGone } from "../lib/workers";
import { Loaded } from "../ui/Loaded";
import { NoWorkers, WorkerTable } from "../ui/WorkerTable";

export function WorkersPage() {
  const { live } = useLive();
  const workers = useQuery(workersQuery(live));
  const { data } = workers;
  const alive = data?.filter(isAlive) ?? [];
  const slots = alive.reduce((sum, worker) => sum + worker.concurrency, 0);
  const busy = alive.reduce((sum, worker) => sum + worker.running.length, 0);
  return (
    <div className="page">
      <div className="title">
        <h1>Workers</h1>
        {data && (
          <span className="aside">
            {busy} of {slots} slots in use
          </span>
        )}
      </div>
      <div className="card">
        <Loaded query={workers} empty={<NoWorkers />}>
          {(found) => (
            <>
              {found.every(isGone) && <NoWorkers />}
              <WorkerTable workers={found} />
            </>
          )}
        </Loaded>
      </div>
    </div>
  );
}
