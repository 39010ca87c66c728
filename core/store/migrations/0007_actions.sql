-- What a person does to many jobs at once. A worker goes on with it from (after_at, after_id), in small pieces.
CREATE TABLE {schema}.actions (
    id             uuid        PRIMARY KEY,
    queue          text        NOT NULL,
    action         text        NOT NULL CHECK (action IN ('cancel', 'retry', 'run-now', 'delete')),
    status         text,                        -- the filter (core/job_filter.py)
    type           text,
    created_after  timestamptz,
    created_before timestamptz NOT NULL,        -- when it was asked for, or before: younger jobs are left alone
    error          text,
    ids            uuid[],
    matched        bigint      NOT NULL,        -- jobs, when it was asked for
    done           bigint      NOT NULL DEFAULT 0,
    failed         bigint      NOT NULL DEFAULT 0, -- they had changed meanwhile
    state          text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'stopped')),
    after_at       timestamptz NOT NULL DEFAULT 'epoch', -- jobs up to this place were looked at
    after_id       uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX actions_created ON {schema}.actions (created_at, id);
