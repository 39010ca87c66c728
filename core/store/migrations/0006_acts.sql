-- What a person may do to a job after it was enqueued: cancel, retry, run now, delete.
ALTER TABLE {schema}.jobs ADD COLUMN earlier_runs integer NOT NULL DEFAULT 0; -- numbers in `runs` that no counter has: before the last retry by hand, and cancelled runs

-- Jobs that were deleted, or will be, while a task of theirs may still lie in Redis: until 30 days after `at`. Without this
-- row such a task would count as one that another program pushed, and run.
CREATE TABLE {schema}.deleted (
    id    uuid        PRIMARY KEY,
    queue text        NOT NULL,
    at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX deleted_at ON {schema}.deleted (at);
