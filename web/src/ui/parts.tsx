import { type ReactNode, useState } from "react";
import { ApiError } from "../api/client";
import { ago } from "../lib/format";
import { pretty } from "../lib/json";
import { useNow } from "../lib/now";
import { Icon } from "./Icon";

/** A time of the API, as an age that moves; the exact time on hover. */
export function Ago({ time }: { time: string | null }) {
  const now = useNow();
  if (!time) return <>–</>;
  return (
    <time dateTime={time} title={new Date(time).toLocaleString()}>
      {ago(now - Date.parse(time))}
    </time>
  );
}

export function Card({ title, aside, children }: { title: string; aside?: ReactNode; children: ReactNode }) {
  return (
    <section className="card" aria-label={title}>
      <header>
        <h2>{title}</h2>
        {aside && <span className="aside">{aside}</span>}
      </header>
      {children}
    </section>
  );
}

/** The server's message, and the age of the data shown below. */
export function ErrorBox({ error, updatedAt, retry }: { error: Error; updatedAt?: number; retry?: () => void }) {
  const now = useNow();
  return (
    <div className="error-box" role="alert">
      <Icon name="warning" />
      <span>
        <strong>{error.message}</strong>
        {error instanceof ApiError && error.status > 0 ? ` (${error.status})` : ""}
        {updatedAt ? ` · showing data from ${ago(now - updatedAt)}` : ""}
      </span>
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

export function Skeleton({ rows = 6 }: { rows?: number }) {
  return (
    <div className="skeleton" role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, row) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: they are all the same and never move
        <div key={row} />
      ))}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** Copies text; works on plain HTTP too, where browsers have no clipboard for pages. */
export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    if (navigator.clipboard && window.isSecureContext) await navigator.clipboard.writeText(text);
    else copyOldWay(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1_500);
  };
  return (
    <button type="button" className="quiet" onClick={() => void copy()} aria-label={copied ? "Copied" : label}>
      <Icon name="copy" />
      {copied ? "Copied" : label === "Copy" ? "Copy" : ""}
    </button>
  );
}

function copyOldWay(text: string): void {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function Json({ value }: { value: unknown }) {
  const text = pretty(value);
  const shown = text.length > 20_000 ? `${text.slice(0, 20_000)}\n… ${text.length - 20_000} more characters` : text;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <pre className="json" tabIndex={0}>
      {shown}
    </pre>
  );
}
