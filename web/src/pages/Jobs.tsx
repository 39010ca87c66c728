import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useState } from "react";
import { jobsQuery, overviewQuery } from "../api/queries";
import { useLive } from "../app/live";
import { STATES } from "../lib/state";
import { JobTable } from "../ui/JobTable";
import { NoJobs } from "../ui/NoJobs";
import { Empty, ErrorBox, Skeleton } from "../ui/parts";
import { StateMark } from "../ui/State";

const route = getRouteApi("/jobs");

export function JobsPage() {
  const search = route.useSearch();
  const { live } = useLive();
  // An older page stands still: new jobs would push its rows down.
  const { data, error, dataUpdatedAt, isPlaceholderData, refetch } = useQuery(
    jobsQuery(search, live && !search.cursor),
  );
  const overview = useQuery(overviewQuery(live));
  const isFiltered = Boolean(search.status ?? search.type);
  return (
    <div className="page flush">
      <h1 className="visually-hidden">Jobs</h1>
      <nav className="tabs" aria-label="State">
        <Link
          to="/jobs"
          search={({ type }) => (type ? { type } : {})}
          className={search.status ? undefined : "active"}
          activeOptions={{ includeSearch: true }}
        >
          All
        </Link>
        {STATES.map((state) => (
          <Link
            key={state}
            to="/jobs"
            search={({ type }) => ({ status: state, ...(type ? { type } : {}) })}
            className={search.status === state ? "active" : undefined}
            activeProps={{ "aria-current": search.status === state ? "page" : undefined }}
          >
            <StateMark state={state} />
            {state}
          </Link>
        ))}
      </nav>
      <TypeFilter key={search.type ?? ""} type={search.type ?? ""} />
      {error && <ErrorBox error={error} updatedAt={dataUpdatedAt} retry={() => void refetch()} />}
      <div className={isPlaceholderData ? "stale" : undefined}>
        {data ? (
          data.jobs.length > 0 ? (
            <JobTable jobs={data.jobs} keys />
          ) : isFiltered ? (
            <Empty title="No job matches">
              <p>
                <Link to="/jobs" search={{}}>
                  Remove the filter
                </Link>
              </p>
            </Empty>
          ) : search.cursor ? (
            <Empty title="There are no older jobs" />
          ) : (
            <NoJobs stored={overview.data?.postgres !== null} />
          )
        ) : (
          !error && <Skeleton rows={12} />
        )}
      </div>
      <nav className="pages" aria-label="Pages of jobs">
        {search.cursor && (
          <Link to="/jobs" search={({ cursor: _, ...rest }) => rest} className="button">
            Newest
          </Link>
        )}
        {data?.next && (
          <Link to="/jobs" search={(rest) => ({ ...rest, cursor: data.next as string })} className="button">
            Older
          </Link>
        )}
      </nav>
    </div>
  );
}

function TypeFilter({ type }: { type: string }) {
  const navigate = route.useNavigate();
  const [text, setText] = useState(type);
  return (
    <search className="filter">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void navigate({
            search: ({ status }) => ({ ...(status ? { status } : {}), ...(text.trim() ? { type: text.trim() } : {}) }),
          });
        }}
      >
        <label htmlFor="type">Type</label>
        <input
          id="type"
          value={text}
          onChange={(event) => setText(event.target.value)}
          placeholder="send_email"
          maxLength={200}
          autoComplete="off"
          spellCheck={false}
        />
        <button type="submit">Filter</button>
        {type && (
          <Link to="/jobs" search={({ status }) => (status ? { status } : {})}>
            Remove
          </Link>
        )}
      </form>
    </search>
  );
}
