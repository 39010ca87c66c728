import { useQuery } from "@tanstack/react-query";
import { workersQuery } from "../api/queries";
import { useLive } from "../app/live";
import { ErrorBox, Skeleton } from "../ui/parts";
import { WorkerTable } from "../ui/WorkerTable";

export function WorkersPage() {
  const { live } = useLive();
  const { data, error, dataUpdatedAt, refetch } = useQuery(workersQuery(live));
  const slots = data?.reduce((sum, worker) => sum + worker.concurrency, 0) ?? 0;
  const busy = data?.reduce((sum, worker) => sum + worker.running.length, 0) ?? 0;
  return (
    <div className="page">
      <div className="title">
        <h1>Workers</h1>
        {data && (
          <span className="aside">
            {busy} of {slots} slots are taken
          </span>
        )}
      </div>
      {error && <ErrorBox error={error} updatedAt={dataUpdatedAt} retry={() => void refetch()} />}
      <div className="card">{data ? <WorkerTable workers={data} /> : !error && <Skeleton />}</div>
    </div>
  );
}
