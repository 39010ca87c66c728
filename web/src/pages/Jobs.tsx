import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useState } from "react";
import { TYPE_LENGTH_MAX } from "../api/constants.gen";
import { jobsQuery, overviewQuery } from "../api/queries";
import { useLive } from "../app/live";
import { STATES } from "../lib/state";
import { Bulk } from "../ui/Bulk";
import { Empty } from "../ui/Empty";
import { JobTable } from "../ui/JobTable";
import { Loaded } from "../ui/Loaded";
import { NoJobs } from "../ui/NoJobs";
import { StateMark } from "../ui/State";

const route = getRouteApi("/jobs");

export function JobsPage() {
  const search = route.useSearch();
  const { live } = useLive();
  // An older page is not refreshed: new jobs would push its rows down.
  const jobs = useQuery(jobsQuery(search, live && !search.cursor));
  const overview = useQuery(overviewQuery(live));
  const bulk = {
    ...(search.status ? { status: search.status } : {}),
    ...(search.type ? { type: search.type } : {}),
  };
  const empty =
    (search.status ?? search.type) ? (
      <Empty title="No jobs match">
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
    );
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
      <div className="filter-row">
        <TypeFilter key={search.type ?? ""} type={search.type ?? ""} />
        <Bulk key={`${search.status} ${search.type}`} filter={bulk} isEmpty={!jobs.data?.jobs.length} />
      </div>
      <div className={jobs.isPlaceholderData ? "stale" : undefined}>
        <Loaded query={jobs} isEmpty={(page) => page.jobs.length === 0} empty={empty} rows={12}>
          {(page) => <JobTable jobs={page.jobs} keys />}
        </Loaded>
      </div>
      <nav className="pages" aria-label="Pages of jobs">
        {search.cursor && (
          <Link to="/jobs" search={({ cursor: _, ...rest }) => rest} className="button">
            Newest
          </Link>
        )}
        {jobs.data?.next && (
          <Link to="/jobs" search={(rest) => ({ ...rest, cursor: jobs.data.next as string })} className="button">
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
          maxLength={TYPE_LENGTH_MAX}
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
