-- Jobs that are enqueued when they are due, again and again. `next_at` is the key: the statement that makes the job of a
-- due time moves it on, and does nothing where it has moved (fire_schedules.sql).
CREATE TABLE {schema}.schedules (
    queue       text             NOT NULL, -- the installation
    name        text             NOT NULL,
    source      text             NOT NULL CHECK (source IN ('code', 'api')),
    cron        text,                      -- either this
    every       double precision,          -- or this: seconds
    tz          text             NOT NULL,
    type        text             NOT NULL,
    payload     text             NOT NULL,
    options     text             NOT NULL, -- JSON: what POST /enqueue takes (core/schedules.py)
    missed      text             NOT NULL CHECK (missed IN ('skip', 'once', 'all')),
    overlap     text             NOT NULL CHECK (overlap IN ('allow', 'skip', 'wait')),
    jitter      double precision NOT NULL,
    paused_why  text,                      -- null: it is not paused
    gone        boolean          NOT NULL DEFAULT false, -- no worker's code declares it any more
    next_at     timestamptz      NOT NULL, -- the due time that makes the next job
    last_at     timestamptz,               -- the one that made the last job
    last_job_id uuid,
    version     bigint           NOT NULL DEFAULT 1, -- of the definition, and of whether it is paused
    created_at  timestamptz      NOT NULL DEFAULT now(),
    updated_at  timestamptz      NOT NULL DEFAULT now(), -- of the version
    PRIMARY KEY (queue, name)
) WITH (fillfactor = 70);
CREATE INDEX schedules_due ON {schema}.schedules (queue, next_at) WHERE paused_why IS NULL AND NOT gone;

-- Which schedules the code of the workers declares: a row for each set of names, shared by all workers that have it.
CREATE TABLE {schema}.declarations (
    queue   text        NOT NULL,
    hash    bytea       NOT NULL, -- of the names
    names   text[]      NOT NULL,
    since   timestamptz NOT NULL, -- some worker has had it all the time since
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (queue, hash)
);

-- Of a job that a schedule has made: which one, and for which due time.
ALTER TABLE {schema}.jobs ADD COLUMN schedule text, ADD COLUMN due_at timestamptz;
