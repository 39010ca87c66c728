-- Made by the test beside it from the migrations: UPDATE_SCHEMA=1 pytest tests/core/store/test_schema.py

CREATE TABLE actions (
    id uuid NOT NULL,
    queue text NOT NULL,
    action text NOT NULL,
    status text,
    type text,
    created_after timestamp with time zone,
    created_before timestamp with time zone NOT NULL,
    error text,
    ids uuid[],
    matched bigint NOT NULL,
    done bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'running'::text,
    after_at timestamp with time zone NOT NULL DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone,
    after_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'::uuid,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    in_queue text,
    in_group text,
    CONSTRAINT actions_pkey PRIMARY KEY (id),
    CONSTRAINT actions_action_check CHECK ((action = ANY (ARRAY['cancel'::text, 'retry'::text, 'run-now'::text, 'delete'::text]))),
    CONSTRAINT actions_state_check CHECK ((state = ANY (ARRAY['running'::text, 'asked'::text, 'done'::text, 'stopped'::text])))
);
CREATE INDEX actions_created ON actions USING btree (created_at, id);

CREATE TABLE artifacts (
    job_id uuid NOT NULL,
    name text NOT NULL,
    content_type text NOT NULL,
    bytes bytea NOT NULL STORAGE EXTERNAL,
    CONSTRAINT artifacts_pkey PRIMARY KEY (job_id, name),
    CONSTRAINT artifacts_job_id_fkey FOREIGN KEY (job_id) REFERENCES jobs(id) ON DELETE CASCADE
);

CREATE TABLE audit (
    id bigint NOT NULL,
    queue text NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT now(),
    who text,
    act text NOT NULL,
    target json NOT NULL,
    count bigint,
    CONSTRAINT audit_pkey PRIMARY KEY (id)
);

CREATE TABLE claimed (
    token uuid NOT NULL,
    queue text NOT NULL,
    owner uuid NOT NULL,
    ids uuid[] NOT NULL,
    CONSTRAINT claimed_pkey PRIMARY KEY (token)
);
CREATE INDEX claimed_owner ON claimed USING btree (owner);

CREATE TABLE declarations (
    queue text NOT NULL,
    hash bytea NOT NULL,
    names text[] NOT NULL,
    since timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    CONSTRAINT declarations_pkey PRIMARY KEY (queue, hash)
);

CREATE TABLE deleted (
    id uuid NOT NULL,
    queue text NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT deleted_pkey PRIMARY KEY (id)
);
CREATE INDEX deleted_at ON deleted USING btree (at);

CREATE TABLE failures (
    queue text NOT NULL,
    span integer NOT NULL,
    at timestamp with time zone NOT NULL,
    type text NOT NULL,
    error text NOT NULL,
    failed bigint NOT NULL,
    retried bigint NOT NULL,
    last_at timestamp with time zone NOT NULL,
    last_job uuid NOT NULL,
    CONSTRAINT failures_pkey PRIMARY KEY (queue, span, at, type, error)
) WITH (fillfactor=60);

CREATE TABLE idempotency (
    queue text NOT NULL,
    key_hash bytea NOT NULL,
    body_hash bytea NOT NULL,
    job_id uuid NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    duplicate boolean,
    CONSTRAINT idempotency_pkey PRIMARY KEY (queue, key_hash)
);
CREATE INDEX idempotency_expires ON idempotency USING btree (expires_at);
CREATE INDEX idempotency_job ON idempotency USING btree (job_id);

CREATE TABLE installation (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    at timestamp with time zone NOT NULL DEFAULT now(),
    one boolean NOT NULL DEFAULT true,
    CONSTRAINT installation_pkey PRIMARY KEY (one),
    CONSTRAINT installation_one_check CHECK (one)
);

CREATE TABLE jobs (
    id uuid NOT NULL,
    queue text NOT NULL,
    type text NOT NULL,
    payload text NOT NULL,
    extra text,
    retries integer NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    recoveries integer NOT NULL DEFAULT 0,
    interruptions integer NOT NULL DEFAULT 0,
    state text NOT NULL,
    joined boolean NOT NULL DEFAULT false,
    token uuid,
    run_at timestamp with time zone,
    cancel_at timestamp with time zone,
    error_message text,
    result text,
    worker text,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    failed_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    requeued boolean NOT NULL DEFAULT false,
    earlier_runs integer NOT NULL DEFAULT 0,
    timeout double precision,
    start_by timestamp with time zone,
    in_queue text NOT NULL DEFAULT 'default'::text,
    is_far boolean NOT NULL DEFAULT false,
    unique_key text,
    unique_until text,
    on_duplicate text,
    replaced boolean,
    schedule text,
    due_at timestamp with time zone,
    in_group text,
    CONSTRAINT jobs_pkey PRIMARY KEY (id),
    CONSTRAINT jobs_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT jobs_check CHECK (((state <> 'processing'::text) OR (token IS NOT NULL))),
    CONSTRAINT jobs_interruptions_check CHECK ((interruptions >= 0)),
    CONSTRAINT jobs_recoveries_check CHECK ((recoveries >= 0)),
    CONSTRAINT jobs_retries_check CHECK ((retries >= 0)),
    CONSTRAINT jobs_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'processing'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
) WITH (fillfactor=45, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_cost_delay=0, autovacuum_vacuum_insert_scale_factor=0.2);
CREATE INDEX jobs_created ON jobs USING btree (created_at, id);
CREATE INDEX jobs_failed_created ON jobs USING btree (created_at, id) WHERE (failed_at IS NOT NULL);
CREATE INDEX jobs_failed_type ON jobs USING btree (type, created_at, id) WHERE (failed_at IS NOT NULL);
CREATE INDEX jobs_far ON jobs USING btree (run_at) WHERE is_far;
CREATE INDEX jobs_requeued_created ON jobs USING btree (created_at, id) WHERE requeued;
CREATE INDEX jobs_requeued_type ON jobs USING btree (type, created_at, id) WHERE requeued;
CREATE INDEX jobs_timed_created ON jobs USING btree (created_at, id) WHERE (run_at IS NOT NULL);
CREATE INDEX jobs_type_created ON jobs USING btree (type, created_at, id);
CREATE INDEX jobs_updated ON jobs USING brin (updated_at) WITH (autosummarize='on');

CREATE TABLE limits (
    queue text NOT NULL,
    version bigint NOT NULL,
    limits jsonb NOT NULL,
    declared jsonb NOT NULL,
    CONSTRAINT limits_pkey PRIMARY KEY (queue)
);

CREATE TABLE logs (
    job_id uuid NOT NULL,
    number bigint NOT NULL,
    run integer NOT NULL,
    text text NOT NULL,
    CONSTRAINT logs_pkey PRIMARY KEY (job_id, number)
);

CREATE TABLE migrations (
    number integer NOT NULL,
    name text NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT now(),
    oldest integer,
    CONSTRAINT migrations_pkey PRIMARY KEY (number)
);

CREATE TABLE outbox (
    batch uuid NOT NULL,
    queue text NOT NULL,
    ids uuid[] NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT outbox_pkey PRIMARY KEY (batch)
);

CREATE TABLE pauses (
    queue text NOT NULL,
    version bigint NOT NULL,
    types text[] NOT NULL,
    queues text[] NOT NULL DEFAULT '{}'::text[],
    CONSTRAINT pauses_pkey PRIMARY KEY (queue)
);

CREATE TABLE progress (
    job_id uuid NOT NULL,
    token uuid NOT NULL,
    fraction double precision NOT NULL,
    text text NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT progress_pkey PRIMARY KEY (job_id)
);

CREATE TABLE queue_stats (
    queue text NOT NULL,
    at timestamp with time zone NOT NULL,
    in_queue text NOT NULL,
    done bigint NOT NULL,
    failed bigint NOT NULL,
    CONSTRAINT queue_stats_pkey PRIMARY KEY (queue, at, in_queue)
);

CREATE TABLE redis_checkpoints (
    queue text NOT NULL,
    server_run_id text,
    position_ms bigint NOT NULL DEFAULT 0,
    at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT redis_checkpoints_pkey PRIMARY KEY (queue)
);

CREATE TABLE runs (
    job_id uuid NOT NULL,
    number integer NOT NULL,
    worker text,
    started_at timestamp with time zone,
    ended_at timestamp with time zone NOT NULL DEFAULT now(),
    outcome text NOT NULL,
    error text,
    traceback text,
    CONSTRAINT runs_pkey PRIMARY KEY (job_id, number),
    CONSTRAINT runs_job_id_fkey FOREIGN KEY (job_id) REFERENCES jobs(id) ON DELETE CASCADE
);

CREATE TABLE schedules (
    queue text NOT NULL,
    name text NOT NULL,
    source text NOT NULL,
    cron text,
    every double precision,
    tz text NOT NULL,
    type text NOT NULL,
    payload text NOT NULL,
    options text NOT NULL,
    missed text NOT NULL,
    overlap text NOT NULL,
    jitter double precision NOT NULL,
    paused_why text,
    gone boolean NOT NULL DEFAULT false,
    next_at timestamp with time zone NOT NULL,
    last_at timestamp with time zone,
    last_job_id uuid,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT schedules_pkey PRIMARY KEY (queue, name),
    CONSTRAINT schedules_missed_check CHECK ((missed = ANY (ARRAY['skip'::text, 'once'::text, 'all'::text]))),
    CONSTRAINT schedules_overlap_check CHECK ((overlap = ANY (ARRAY['allow'::text, 'skip'::text, 'wait'::text]))),
    CONSTRAINT schedules_source_check CHECK ((source = ANY (ARRAY['code'::text, 'api'::text])))
) WITH (fillfactor=70);
CREATE INDEX schedules_due ON schedules USING btree (queue, next_at) WHERE ((paused_why IS NULL) AND (NOT gone));

CREATE TABLE stats (
    queue text NOT NULL,
    span integer NOT NULL,
    at timestamp with time zone NOT NULL,
    type text NOT NULL,
    enqueued bigint NOT NULL,
    done bigint NOT NULL,
    failed bigint NOT NULL,
    retried bigint NOT NULL,
    cancelled bigint NOT NULL,
    waits bigint[] NOT NULL,
    runs bigint[] NOT NULL,
    CONSTRAINT stats_pkey PRIMARY KEY (queue, span, at, type)
) WITH (fillfactor=60);

CREATE TABLE stats_writers (
    writer uuid NOT NULL,
    number bigint NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT stats_writers_pkey PRIMARY KEY (writer)
) WITH (fillfactor=60);

CREATE TABLE unique_keys (
    queue text NOT NULL,
    key text NOT NULL,
    job_id uuid NOT NULL,
    until_started boolean NOT NULL,
    free_at timestamp with time zone,
    CONSTRAINT unique_keys_pkey PRIMARY KEY (queue, key)
);
