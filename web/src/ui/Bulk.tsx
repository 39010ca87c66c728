import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { type Act, actionQuery, type BulkFilter, countMatching, startAction, stopAction } from "../api/queries";
import type { Action, JobState } from "../api/types";
import { count } from "../lib/format";
import { useConfirmation } from "./confirmation";
import { ErrorBox } from "./ErrorBox";

/** What can be done to all jobs in a state; without one, what failed or was cancelled is retried. */
const ACTS: Record<JobState | "all", Act[]> = {
  all: ["retry"],
  pending: ["cancel"],
  processing: ["cancel"],
  completed: ["delete"],
  failed: ["retry", "delete"],
  cancelled: ["retry", "delete"],
};
const NAMES: Record<Act, string> = { cancel: "Cancel", retry: "Retry", "run-now": "Run now", delete: "Delete" };
const DONE: Record<Act, string> = { cancel: "cancelled", retry: "retried", "run-now": "due", delete: "deleted" };

const jobs = (number: number) => `${count(number)} ${number === 1 ? "job" : "jobs"}`;

/** What an action has come to, in words. */
export function outcome({ action, done, failed, matched, state }: Omit<Action, "filter" | "id">): string {
  if (state === "running") return `${count(done)} of ${jobs(matched)} ${DONE[action]} …`;
  const others = failed ? `, ${count(failed)} had changed meanwhile` : "";
  return `${jobs(done)} ${DONE[action]}${others}${state === "stopped" ? ", then stopped" : ""}.`;
}

/** Acts on all jobs that the list shows, on this page and on the others. What became of it stays when none are left. */
export function Bulk({ filter, isEmpty }: { filter: BulkFilter; isEmpty: boolean }) {
  const client = useQueryClient();
  const [asked, ask] = useConfirmation<{ act: Act; matched: number }>();
  const counting = useMutation({
    mutationFn: (act: Act) => countMatching(act, filter),
    onSuccess: (matched, act) => ask({ act, matched }),
  });
  const starting = useMutation({
    mutationFn: ({ act, matched }: { act: Act; matched: number }) => startAction(act, filter, matched),
  });
  const isBusy = counting.isPending || starting.isPending;
  const click = (act: Act) => {
    if (asked?.act === act && asked.matched > 0) {
      ask(null);
      starting.mutate(asked);
    } else counting.mutate(act);
  };
  return (
    <>
      <span className="acts bulk">
        {(isEmpty ? [] : ACTS[filter.status ?? "all"]).map((act) => (
          <button
            type="button"
            key={act}
            disabled={isBusy}
            className={asked?.act === act && asked.matched > 0 ? "danger" : undefined}
            onClick={() => click(act)}
          >
            {asked?.act !== act
              ? `${NAMES[act]} all`
              : asked.matched
                ? `${NAMES[act]} ${jobs(asked.matched)}?`
                : "No job to do that to"}
          </button>
        ))}
        {starting.data && <Running id={starting.data} onEnd={() => void client.invalidateQueries()} />}
      </span>
      {(counting.error ?? starting.error) && <ErrorBox error={counting.error ?? (starting.error as Error)} />}
    </>
  );
}

function Running({ id, onEnd }: { id: string; onEnd: () => void }) {
  const action = useQuery(actionQuery(id));
  const [ended, setEnded] = useState(false);
  const stopping = useMutation({ mutationFn: () => stopAction(id), onSettled: () => action.refetch() });
  const state = action.data?.state;
  useEffect(() => {
    if (state === undefined || state === "running" || ended) return;
    setEnded(true);
    onEnd();
  }, [state, ended, onEnd]);
  if (!action.data) return null;
  return (
    <>
      <output className="note">{outcome(action.data)}</output>
      {state === "running" && (
        <button type="button" className="quiet" disabled={stopping.isPending} onClick={() => stopping.mutate()}>
          Stop
        </button>
      )}
      {stopping.error && <ErrorBox error={stopping.error} />}
    </>
  );
}
