import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useState } from "react";
import { deadLetterQuery, deadLettersQuery, deleteDeadLetter, overviewQuery, retryDeadLetters } from "../api/queries";
import type { DeadLetter, Retried } from "../api/types";
import { useLive } from "../app/live";
import { bytes, count } from "../lib/format";
import { Ago } from "../ui/Ago";
import { useConfirmation } from "../ui/confirmation";
import { Empty } from "../ui/Empty";
import { ErrorBox } from "../ui/ErrorBox";
import { Icon } from "../ui/Icon";
import { Loaded } from "../ui/Loaded";
import { State } from "../ui/State";

const route = getRouteApi("/dead");
const SHOWN_MAX = 20_000;

export function DeadPage() {
  const { cursor } = route.useSearch();
  const { live } = useLive();
  // An older page is not refreshed: new entries would push its own down.
  const letters = useQuery(deadLettersQuery(cursor, live && !cursor));
  const stored = useQuery(overviewQuery(live)).data?.postgres !== null;
  return (
    <div className="page">
      <Title total={letters.data?.total ?? 0} />
      <p className="note lead">
        {stored ? (
          <>
            Tasks that cannot run, with the reason. A job that has failed is{" "}
            <Link to="/jobs" search={{ status: "failed" }}>
              among the jobs
            </Link>
            .
          </>
        ) : (
          "Jobs that have failed for good, with their errors, and tasks that cannot run. The newest 10,000 are kept."
        )}
      </p>
      <div className={letters.isPlaceholderData ? "stale" : undefined}>
        <Loaded
          query={letters}
          isEmpty={(page) => page.letters.length === 0}
          empty={<Empty title={cursor ? "There are no older dead letters" : "No dead letters"} />}
          rows={8}
        >
          {(page) => (
            <ol className="dead">
              {page.letters.map((letter, at) => (
                // Entries that are the same byte by byte have one id.
                // biome-ignore lint/suspicious/noArrayIndexKey: the place tells such entries apart
                <Letter key={`${letter.id} ${at}`} letter={letter} />
              ))}
            </ol>
          )}
        </Loaded>
      </div>
      <nav className="pages" aria-label="Pages of dead letters">
        {cursor && (
          <Link to="/dead" search={{}} className="button">
            Newest
          </Link>
        )}
        {letters.data?.next && (
          <Link to="/dead" search={{ cursor: letters.data.next }} className="button">
            Older
          </Link>
        )}
      </nav>
    </div>
  );
}

/** With what is done to all of them, and what became of it: that stays when none are left. */
function Title({ total }: { total: number }) {
  const client = useQueryClient();
  const [asked, ask] = useConfirmation<true>();
  const doing = useMutation({
    mutationFn: () => retryDeadLetters(),
    onSettled: () => client.invalidateQueries(),
  });
  const click = () => {
    ask(asked ? null : true);
    if (asked) doing.mutate();
  };
  return (
    <>
      <div className="title">
        <h1>Dead letters</h1>
        <span className="acts">
          {total > 0 && <span className="aside">{count(total)} in all</span>}
          {(total > 0 || doing.isPending) && (
            <button type="button" disabled={doing.isPending} className={asked ? "danger" : undefined} onClick={click}>
              {doing.isPending ? "Retrying …" : asked ? `Retry all ${count(total)}?` : "Retry all"}
            </button>
          )}
        </span>
      </div>
      {doing.error && <ErrorBox error={doing.error} />}
      {doing.data && <output className="done">{outcome(doing.data)}</output>}
    </>
  );
}

function outcome({ retried, kept, left }: Retried): string {
  const parts = [`${count(retried)} retried`];
  if (kept) parts.push(`${count(kept)} cannot be retried and ${kept === 1 ? "stays" : "stay"}`);
  if (left) parts.push(`no time for ${count(left)}: retry again`);
  return `${parts.join(", ")}.`;
}

function Letter({ letter }: { letter: DeadLetter }) {
  const client = useQueryClient();
  const [asked, ask] = useConfirmation<true>();
  const retrying = useMutation({
    mutationFn: async () => {
      const done = await retryDeadLetters(letter.id);
      if (!done.retried) throw new Error(done.reasons[0]?.why ?? "dead letter not found");
    },
    onSuccess: () => client.invalidateQueries(),
  });
  const deleting = useMutation({
    mutationFn: () => deleteDeadLetter(letter.id),
    onSuccess: () => client.invalidateQueries(),
  });
  const isBusy = retrying.isPending || deleting.isPending;
  const error = retrying.error ?? deleting.error;
  const remove = () => {
    ask(asked ? null : true);
    if (asked) deleting.mutate();
  };
  return (
    <li className="card" aria-label={`Dead letter ${letter.id}`}>
      <header>
        {letter.is_task ? (
          <State state="failed" />
        ) : (
          <span className="state cancelled">
            <Icon name="warning" />
            no task
          </span>
        )}
        {letter.type && <span className="type">{letter.type}</span>}
        <span className="note">
          <Ago time={letter.at} />
        </span>
        <span className="acts">
          {letter.is_task && (
            <button type="button" disabled={isBusy} onClick={() => retrying.mutate()}>
              {retrying.isPending ? "Retrying …" : "Retry"}
            </button>
          )}
          <button type="button" disabled={isBusy} className={asked ? "danger" : undefined} onClick={remove}>
            {deleting.isPending ? "Deleting …" : asked ? "Delete for good?" : "Delete"}
          </button>
        </span>
      </header>
      {error && <ErrorBox error={error} />}
      <p className="reason">{letter.reason ?? "No entry of ours: another program has put it here."}</p>
      <Task letter={letter} />
    </li>
  );
}

/** The beginning of the task, and all of it on request. */
function Task({ letter }: { letter: DeadLetter }) {
  const [wanted, setWanted] = useState(false);
  const whole = useQuery({ ...deadLetterQuery(letter.id), enabled: wanted });
  const text = whole.data?.task ?? letter.task;
  const isCut = isWhole(letter) === false;
  return (
    <>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
      <pre className="json" tabIndex={0}>
        {text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}\n… ${text.length - SHOWN_MAX} more characters` : text}
        {isCut && !whole.data && "…"}
      </pre>
      <p className="note task">
        {bytes(letter.task_bytes)}
        {letter.encoding === "base64" && ", no text: shown in base64"}
        {isCut && !whole.data && (
          <button type="button" className="quiet" disabled={whole.isFetching} onClick={() => setWanted(true)}>
            Show all of it
          </button>
        )}
      </p>
      {whole.error && <ErrorBox error={whole.error} retry={() => void whole.refetch()} />}
    </>
  );
}

/** Does the list show all of the task? */
export function isWhole({ task, task_bytes, encoding }: Pick<DeadLetter, "task" | "task_bytes" | "encoding">): boolean {
  const shown = encoding === "base64" ? Math.floor((task.length * 3) / 4) : new TextEncoder().encode(task).length;
  return shown >= task_bytes;
}
