-- What happened to jobs, by span of time and type. Each process adds its sums to three spans: 60, 600 and 3600 seconds.
CREATE TABLE {schema}.stats (
    queue     text        NOT NULL,
    span      integer     NOT NULL, -- seconds
    at        timestamptz NOT NULL, -- its beginning
    type      text        NOT NULL,
    enqueued  bigint      NOT NULL,
    done      bigint      NOT NULL,
    failed    bigint      NOT NULL,
    retried   bigint      NOT NULL,
    cancelled bigint      NOT NULL,
    waits     bigint[]    NOT NULL, -- by bucket (core/stats.py): from the acceptance to the first claim, of a sample
    runs      bigint[]    NOT NULL, -- how long runs took
    PRIMARY KEY (queue, span, at, type)
) WITH (fillfactor = 60);

-- Failures that are alike: their error is the same but for numbers, names and addresses.
CREATE TABLE {schema}.failures (
    queue    text        NOT NULL,
    span     integer     NOT NULL,
    at       timestamptz NOT NULL,
    type     text        NOT NULL,
    error    text        NOT NULL,
    failed   bigint      NOT NULL, -- ended their jobs
    retried  bigint      NOT NULL,
    last_at  timestamptz NOT NULL,
    last_job uuid        NOT NULL,
    PRIMARY KEY (queue, span, at, type, error)
) WITH (fillfactor = 60);

-- Who adds: what was sent again is not added twice.
CREATE TABLE {schema}.stats_writers (
    writer uuid        PRIMARY KEY,
    number bigint      NOT NULL, -- of the last batch
    at     timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 60);
