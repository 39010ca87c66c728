-- What the sender of a job may choose besides its retries. `is_far`: it is due so much later that no task of it is in
-- Redis yet, and it has no outbox entry; cleared by the statement that makes one (bring_jobs.sql).
ALTER TABLE {schema}.jobs
    ADD COLUMN timeout double precision,
    ADD COLUMN start_by timestamptz, -- expires_at of the API: that name stands in statements of the release before
    ADD COLUMN in_queue text NOT NULL DEFAULT 'default', -- of the installation, whose name is in `queue`
    ADD COLUMN is_far boolean NOT NULL DEFAULT false;

CREATE INDEX jobs_far ON {schema}.jobs (run_at) WHERE is_far;
-- What waits for a time is found by it: few rows have one, and of those without one nothing changes.
CREATE INDEX jobs_timed_created ON {schema}.jobs (created_at, id) WHERE run_at IS NOT NULL;

ALTER TABLE {schema}.pauses ADD COLUMN queues text[] NOT NULL DEFAULT '{}';

-- What happened to jobs of queues besides the default one, by minute: what is missing in the sum of all is its own.
CREATE TABLE {schema}.queue_stats (
    queue    text        NOT NULL, -- the installation
    at       timestamptz NOT NULL,
    in_queue text        NOT NULL,
    done     bigint      NOT NULL,
    failed   bigint      NOT NULL,
    PRIMARY KEY (queue, at, in_queue)
);

-- `asked` is `running`, of an action that workers of the release before must not see: they do not know its filter.
ALTER TABLE {schema}.actions ADD COLUMN in_queue text, DROP CONSTRAINT actions_state_check,
    ADD CONSTRAINT actions_state_check CHECK (state IN ('running', 'asked', 'done', 'stopped'));
