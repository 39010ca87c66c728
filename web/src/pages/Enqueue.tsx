import { useMutation, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { API } from "../api/client";
import { DELAY_SECONDS_MAX, GROUP_MAX, RETRIES_MAX, TYPE_LENGTH_MAX } from "../api/constants.gen";
import { enqueue, jobQuery, overviewQuery, workersQuery } from "../api/queries";
import type { Enqueued } from "../api/types";
import { useLive } from "../app/live";
import { count } from "../lib/format";
import { useNow } from "../lib/now";
import { shownState } from "../lib/state";
import { isAlive } from "../lib/workers";
import { Card } from "../ui/Card";
import { Copy } from "../ui/Copy";
import { ErrorBox } from "../ui/ErrorBox";
import { State } from "../ui/State";

/** What the form begins with: a first job that fails shows what a retry is. */
const RETRIES = "3";

// A red square of 8 x 8, so that the example works as it is.
const PICTURE =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP4z8CAFWEXHbQSACj/P8Fu7N9hAAAAAElFTkSuQmCC";

const EXAMPLES: Record<string, unknown> = {
  send_email: { to: "someone@example.com", subject: "Welcome!", body: "Hello from WorkQueue." },
  resize_image: { image: PICTURE, width: 64, height: 64 },
  generate_pdf: {
    title: "Report",
    paragraphs: ["First things first."],
    table: [
      ["name", "jobs"],
      ["send_email", 12],
      ["resize_image", 3],
    ],
  },
};

const exampleOf = (type: string) => JSON.stringify(EXAMPLES[type] ?? {}, null, 2);

/** What is wrong with the text of a payload; null: nothing. The text itself is sent, so that big integers survive. */
export function payloadFault(text: string): string | null {
  try {
    const value: unknown = JSON.parse(text);
    return value !== null && typeof value === "object" && !Array.isArray(value)
      ? null
      : "The payload must be a JSON object.";
  } catch (error) {
    return error instanceof Error ? error.message : "Not valid JSON.";
  }
}

/** What is wrong with the number of retries; null: nothing. */
export function retriesFault(text: string): string | null {
  return /^\d{1,7}$/.test(text) && Number(text) <= RETRIES_MAX
    ? null
    : `Retries must be a whole number from 0 to ${count(RETRIES_MAX)}.`;
}

/** What a job may choose besides, and what is wrong with what was typed; null: nothing. Empty: it is not chosen. */
export const OPTIONS = {
  queue: {
    label: "Queue",
    note: "default",
    inputMode: "text",
    fault: (text: string) => (/^[A-Za-z0-9_-]{1,64}$/.test(text) ? null : "1 to 64 letters, digits, - and _."),
  },
  group: {
    label: "Group (a customer, a document)",
    note: "none",
    inputMode: "text",
    fault: (text: string) => ([...text].length <= GROUP_MAX ? null : `At most ${GROUP_MAX} characters.`),
  },
  delay: {
    label: "Delay (seconds)",
    note: "at once",
    inputMode: "decimal",
    fault: (text: string) =>
      isNumber(text) && Number(text) <= DELAY_SECONDS_MAX ? null : `0 to ${count(DELAY_SECONDS_MAX)} seconds.`,
  },
  expires_in: {
    label: "Expires in (seconds)",
    note: "never",
    inputMode: "decimal",
    fault: (text: string) => (isNumber(text) && Number(text) > 0 ? null : "More than 0 seconds."),
  },
  timeout: {
    label: "Timeout of a run (seconds)",
    note: "its handler's",
    inputMode: "decimal",
    fault: (text: string) => (isNumber(text) && Number(text) > 0 ? null : "More than 0 seconds."),
  },
} as const;
type OptionName = keyof typeof OPTIONS;
const OPTION_NAMES = Object.keys(OPTIONS) as OptionName[];
const isNumber = (text: string) => /^\d{1,12}(\.\d{1,6})?$/.test(text);

/** The members of a task for what was chosen, with a comma before each. */
export function optionMembers(chosen: Partial<Record<OptionName, string>>): string {
  return OPTION_NAMES.filter((name) => chosen[name])
    .map(
      (name) =>
        `,"${name}":${OPTIONS[name].inputMode === "text" ? JSON.stringify(chosen[name]) : Number(chosen[name])}`,
    )
    .join("");
}

export function EnqueuePage() {
  const { live } = useLive();
  const workers = useQuery(workersQuery(live));
  const overview = useQuery(overviewQuery(live));
  const [type, setType] = useState("send_email");
  const [payload, setPayload] = useState(exampleOf("send_email"));
  const [retries, setRetries] = useState(RETRIES);
  const [options, setOptions] = useState<Partial<Record<OptionName, string>>>({}); // as they are typed
  const chosen = Object.fromEntries(
    Object.entries(options).map(([name, text]) => [name, text.trim()]),
  ) as typeof options;
  const submit = useMutation({ mutationFn: () => enqueue(taskOf(payload)) });
  const optionFaults = OPTION_NAMES.map((name) => (chosen[name] ? OPTIONS[name].fault(chosen[name]) : null));
  const taskOf = (text: string) =>
    `{"type":${JSON.stringify(type.trim())},"retries":${retries || 0},"payload":${text}${optionMembers(chosen)}}`;
  const faults = {
    type: type.trim() ? null : "Enter a type: it selects the handler.",
    payload: payloadFault(payload),
    retries: retriesFault(retries),
  };
  const types = [
    ...new Set([...Object.keys(EXAMPLES), ...(workers.data?.filter(isAlive).flatMap((worker) => worker.types) ?? [])]),
  ];
  const choose = (other: string) => {
    // Replace the example of another type, but nothing that the user wrote.
    if (Object.keys(EXAMPLES).some((known) => payload === exampleOf(known)) || payload.trim() === "{}")
      setPayload(exampleOf(other));
    setType(other);
  };
  const isWrong = [...Object.values(faults), ...optionFaults].some(Boolean);
  const compact = isWrong ? payload : JSON.stringify(JSON.parse(payload));
  const task = taskOf(compact);
  const quoted = task.replaceAll("'", "'\\''");
  return (
    <div className="page">
      <div className="title">
        <h1>Enqueue</h1>
      </div>
      <div className="columns even">
        <form
          className="card form"
          onSubmit={(event) => {
            event.preventDefault();
            if (!isWrong) submit.mutate();
          }}
        >
          <Field id="job-type" label="Type" fault={faults.type}>
            <input
              id="job-type"
              list="types"
              value={type}
              maxLength={TYPE_LENGTH_MAX}
              onChange={(event) => choose(event.target.value)}
              autoComplete="off"
              spellCheck={false}
            />
            <datalist id="types">
              {types.map((known) => (
                <option key={known} value={known} />
              ))}
            </datalist>
          </Field>
          <p className="examples">
            {Object.keys(EXAMPLES).map((known) => (
              <button
                type="button"
                key={known}
                className="quiet"
                onClick={() => {
                  setType(known);
                  setPayload(exampleOf(known));
                }}
              >
                {known}
              </button>
            ))}
          </p>
          <Field id="payload" label="Payload (JSON)" fault={faults.payload}>
            <textarea
              id="payload"
              rows={14}
              value={payload}
              onChange={(event) => setPayload(event.target.value)}
              spellCheck={false}
              aria-invalid={faults.payload !== null}
            />
          </Field>
          <Field id="retries" label="Retries" fault={faults.retries}>
            <input
              id="retries"
              inputMode="numeric"
              value={retries}
              onChange={(event) => setRetries(event.target.value)}
              aria-describedby="retries-note"
            />
            <p id="retries-note" className="faint">
              How often it runs again after a failure. Filled in here: {RETRIES}. A request or a command that names
              none: 0.
            </p>
          </Field>
          <details className="more-options">
            <summary>More options</summary>
            {OPTION_NAMES.map((name, place) => (
              <Field key={name} id={`option-${name}`} label={OPTIONS[name].label} fault={optionFaults[place] ?? null}>
                <input
                  id={`option-${name}`}
                  value={options[name] ?? ""}
                  placeholder={OPTIONS[name].note}
                  inputMode={OPTIONS[name].inputMode}
                  autoComplete="off"
                  spellCheck={false}
                  onChange={(event) => setOptions({ ...options, [name]: event.target.value })}
                />
              </Field>
            ))}
          </details>
          <button type="submit" className="button primary" disabled={isWrong || submit.isPending}>
            {submit.isPending ? "Enqueuing…" : "Enqueue"}
          </button>
          {submit.error && <ErrorBox error={submit.error} />}
          {submit.data && <Outcome answer={submit.data} />}
        </form>
        <div>
          <Card title="The same from a terminal">
            <Command text={`curl -X POST ${API || window.location.origin}/enqueue -d '${quoted}'`} />
          </Card>
          <Card title="Directly into Redis">
            <Command text={`redis-cli RPUSH ${overview.data?.queue_name ?? "workqueue:jobs"} '${quoted}'`} />
          </Card>
        </div>
      </div>
    </div>
  );
}

function Field({
  id,
  label,
  fault,
  children,
}: {
  id: string;
  label: string;
  fault: string | null;
  children: React.ReactNode;
}) {
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children}
      {fault && (
        <p className="fault" role="status">
          {fault}
        </p>
      )}
    </div>
  );
}

function Command({ text }: { text: string }) {
  return (
    <p className="command">
      <code>{text.length > 2000 ? `${text.slice(0, 2000)}…` : text}</code>
      <Copy text={text} />
    </p>
  );
}

/** The job that was enqueued, followed until it has ended. */
function Outcome({ answer }: { answer: Enqueued }) {
  return (
    <output className="outcome">
      {answer.job_id ? <Followed id={answer.job_id} /> : <>Queued. Without Postgres, a job has no page.</>}
    </output>
  );
}

function Followed({ id }: { id: string }) {
  const { live } = useLive();
  const now = useNow();
  const { data } = useQuery(jobQuery(id, live));
  return (
    <>
      Queued{" "}
      <Link to="/jobs/$id" params={{ id }} className="mono">
        {id}
      </Link>{" "}
      {data && <State state={shownState(data, now)} />}
      {data?.error_message && <span className="faint"> {data.error_message}</span>}
    </>
  );
}
