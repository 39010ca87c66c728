import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useRef } from "react";
import { type Act, act, actKey, keysOf } from "../api/queries";
import type { Job } from "../api/types";
import { type ShownState, shownState } from "../lib/state";
import { useConfirmation } from "./confirmation";
import { ErrorBox } from "./ErrorBox";

/** Which acts fit a job that is shown so; the server refuses the others. */
export function actsOf(job: Pick<Job, "status" | "attempts" | "run_at" | "cancelling">, now: number): Act[] {
  const state: ShownState = shownState(job, now);
  const isEarly = job.status === "pending" && job.run_at !== null && Date.parse(job.run_at) > now;
  if (isEarly) return ["run-now", "cancel"];
  if (state === "processing") return job.cancelling ? [] : ["cancel"];
  if (job.status === "pending") return ["cancel"];
  return job.status === "completed" ? ["delete"] : ["retry", "delete"];
}

const NAMES: Record<Act, string> = { cancel: "Cancel", retry: "Retry", "run-now": "Run now", delete: "Delete" };
const DOING: Record<Act, string> = {
  cancel: "Cancelling …",
  retry: "Retrying …",
  "run-now": "Making it due …",
  delete: "Deleting …",
};
/** These cannot be undone: a second click confirms them. */
const CONFIRMED: Partial<Record<Act, string>> = { cancel: "Cancel it?", delete: "Delete for good?" };

/** What can be done to a job now. */
export function Acts({ job, now }: { job: Job; now: number }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [asked, setAsked] = useConfirmation<Act>();
  const isGone = useRef(false);
  const doing = useMutation({
    mutationKey: actKey(job.id),
    mutationFn: async (chosen: Act) => {
      // An answer on its way would tell how the job was before, or, of a deleted job, that there is none.
      await Promise.all(keysOf(job.id).map((queryKey) => client.cancelQueries({ queryKey })));
      await act(job.id, chosen);
    },
    onSuccess: (_, chosen) => {
      if (chosen !== "delete") return client.invalidateQueries();
      isGone.current = true;
      return navigate({ to: "/jobs" });
    },
  });
  // What is kept of a deleted job goes with the last view of it: before, that view would ask for it again.
  useEffect(
    () => () => {
      if (!isGone.current) return;
      for (const queryKey of keysOf(job.id)) client.removeQueries({ queryKey });
    },
    [client, job.id],
  );
  const choose = (chosen: Act) => {
    if (chosen in CONFIRMED && asked !== chosen) {
      setAsked(chosen);
      return;
    }
    setAsked(null);
    doing.mutate(chosen);
  };
  return (
    <>
      <span className="acts">
        {job.cancelling && <span className="note">being cancelled</span>}
        {actsOf(job, now).map((name) => (
          <button
            type="button"
            key={name}
            disabled={doing.isPending}
            className={asked === name ? "danger" : undefined}
            onClick={() => choose(name)}
          >
            {doing.isPending && doing.variables === name ? DOING[name] : asked === name ? CONFIRMED[name] : NAMES[name]}
          </button>
        ))}
      </span>
      {doing.error && <ErrorBox error={doing.error} />}
    </>
  );
}
