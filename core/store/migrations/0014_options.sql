-- What the sender of a job may choose besides its retries. `is_far`: it is due so much later that no task of it is in
-- Redis yet, and it has no outbox entry; cleared by the statement that makes one (bring_jobs.sql).
ALTER TABLE {schema}.jobs
    ADD COLUMN timeout double precision,
    ADD COLUMN start_by timestamptz, -- expires_at of the API: that name stands in statements of the release before
    ADD COLUMN is_far boolean NOT NULL DEFAULT false;

CREATE INDEX jobs_far ON {schema}.jobs (run_at) WHERE is_far;
-- What waits for a time is found by it: few rows have one, and of those without one nothing changes.
CREATE INDEX jobs_timed_created ON {schema}.jobs (created_at, id) WHERE run_at IS NOT NULL;
