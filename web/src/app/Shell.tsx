import { useMutation, useQuery } from "@tanstack/react-query";
import { Link, Outlet, useNavigate } from "@tanstack/react-router";
import { useRef } from "react";
import { logOut } from "../api/client";
import { overviewQuery, sessionQuery } from "../api/queries";
import { ago, count } from "../lib/format";
import { useNow } from "../lib/now";
import { Icon, type IconName } from "../ui/Icon";
import { useKeys } from "./keys";
import { useLive } from "./live";
import { useScheme } from "./scheme";

const ROOMS: { to: "/" | "/jobs" | "/workers"; name: string; icon: IconName }[] = [
  { to: "/", name: "Overview", icon: "overview" },
  { to: "/jobs", name: "Jobs", icon: "jobs" },
  { to: "/workers", name: "Workers", icon: "workers" },
];

const KEYS: [string, string][] = [
  ["g o", "Overview"],
  ["g j", "Jobs"],
  ["g d", "Dead letters"],
  ["g w", "Workers"],
  ["g e", "Enqueue"],
  ["j / k", "next / previous row"],
  ["Enter", "open the row"],
  ["p", "pause or resume"],
  ["?", "this list"],
];

export function Shell() {
  const { live, toggle } = useLive();
  const overview = useQuery(overviewQuery(live));
  const navigate = useNavigate();
  const help = useRef<HTMLDialogElement>(null);
  useKeys({
    "g o": () => void navigate({ to: "/" }),
    "g j": () => void navigate({ to: "/jobs" }),
    "g d": () => void navigate({ to: "/dead" }),
    "g w": () => void navigate({ to: "/workers" }),
    "g e": () => void navigate({ to: "/new" }),
    p: toggle,
    "?": () => help.current?.showModal(),
  });
  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <nav className="rooms" aria-label="Pages">
        <Link to="/" className="brand">
          <svg viewBox="0 0 20 20" aria-hidden="true">
            <rect width="20" height="20" rx="4.5" />
            <path d="M4.500 6h11M4.500 10h7.500M4.500 14h4.500" />
          </svg>
          WorkQueue
        </Link>
        {ROOMS.map((room) => (
          <Link key={room.to} to={room.to} activeOptions={{ exact: room.to === "/" }} className="room">
            <Icon name={room.icon} />
            {room.name}
            {room.to === "/workers" && overview.data && <span className="badge">{count(overview.data.workers)}</span>}
          </Link>
        ))}
        <Link to="/new" className="room phone-only">
          <Icon name="plus" />
          Enqueue
        </Link>
        <p className="about">
          {overview.data && (
            <>
              {overview.data.queue_name}
              <br />v{overview.data.version}
            </>
          )}
        </p>
      </nav>
      <header className="top">
        <Who />
        <Following updatedAt={overview.dataUpdatedAt} failed={overview.isError} />
        <Link to="/new" className="button primary desktop-only">
          <Icon name="plus" />
          Enqueue
        </Link>
        <SchemeButton />
      </header>
      <main id="main" tabIndex={-1}>
        <Outlet />
      </main>
      <dialog ref={help} className="help" aria-label="Keys">
        <h2>Keys</h2>
        <dl>
          {KEYS.map(([keys, what]) => (
            <div key={keys}>
              <dt>
                <kbd>{keys}</kbd>
              </dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
        <button type="button" onClick={() => help.current?.close()}>
          Close
        </button>
      </dialog>
    </div>
  );
}

/** Whose session this is, where the producer has tokens. */
function Who() {
  const { data } = useQuery(sessionQuery);
  const leave = useMutation({ mutationFn: logOut });
  if (!data?.name) return null;
  return (
    <p className="who">
      {data.name} ({data.role})
      <button type="button" className="quiet" onClick={() => leave.mutate()} disabled={leave.isPending}>
        Log out
      </button>
    </p>
  );
}

/** Live, paused, or without an answer of the producer; the latter two with the age of the data. */
function Following({ updatedAt, failed }: { updatedAt: number; failed: boolean }) {
  const { live, toggle } = useLive();
  const now = useNow();
  const age = updatedAt ? ago(now - updatedAt) : "never";
  const kind = !live ? "paused" : failed ? "lost" : "live";
  const text = { live: "live", paused: `paused, data from ${age}`, lost: `no answer, data from ${age}` }[kind];
  return (
    <button
      type="button"
      className={`following ${kind}`}
      onClick={toggle}
      aria-pressed={!live}
      title={live ? "Pause (p)" : "Resume (p)"}
    >
      <span className="dot" />
      {text}
    </button>
  );
}

function SchemeButton() {
  const [scheme, next] = useScheme();
  const icon = ({ system: "system", light: "sun", dark: "moon" } as const)[scheme];
  return (
    <button
      type="button"
      className="square"
      onClick={next}
      aria-label={`Colours: ${scheme}`}
      title={`Colours: ${scheme}`}
    >
      <Icon name={icon} />
    </button>
  );
}
