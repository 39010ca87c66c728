-- What a person may do to a job after it was enqueued: cancel, retry, run now, delete.
ALTER TABLE {schema}.jobs ADD COLUMN earlier_runs integer NOT NULL DEFAULT 0; -- numbers in `runs` before the last retry by hand

-- Jobs that a person deleted. A task of such a job may still lie in Redis; without this row it would count as one that
-- another program pushed, and run.
CREATE TABLE {schema}.deleted (
    id    uuid        PRIMARY KEY,
    queue text        NOT NULL,
    at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX deleted_at ON {schema}.deleted (at);
