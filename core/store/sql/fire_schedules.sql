-- Make the jobs of schedules that are due, with their outbox entry, and move the schedules on: one transaction, so that
-- a due time makes its jobs once, whoever dies, and a repeat finds that `next_at` has moved, and does nothing.
-- :queue text    :batch uuid of the outbox entry, fresh for each send
-- :names text[]    :versions bigint[] that were read    :seen timestamptz[] the `next_at` that was read; null: run now,
-- whatever is due, also where it is paused    :next_ats timestamptz[] the next one (null: stays)
-- Of each job: :job_ids uuid[]    :job_names text[]    :dues timestamptz[]    :job_jitters float8[]    {option_arrays}
-- :far_seconds float8 what is due later has no outbox entry yet
-- :audit_who text (null: no tokens)    :audit_act text (null: no row of the audit)    :audit_target json
-- Returns name, and made (how many jobs) of each schedule that was moved on or ran now. Locked rows are skipped: another
-- worker is at them.
WITH given AS (
    SELECT * FROM unnest(:names::text[], :versions::bigint[], :seen::timestamptz[], :next_ats::timestamptz[])
        AS given (name, version, seen, next_at)
), locked AS (
    SELECT schedules.name, schedules.type, schedules.payload, schedules.overlap, schedules.last_job_id, given.seen,
           given.next_at
    FROM {schema}.schedules JOIN given ON given.name = schedules.name
    WHERE schedules.queue = :queue AND schedules.version = given.version
      AND (given.seen IS NULL
           OR schedules.next_at = given.seen AND schedules.paused_why IS NULL AND NOT schedules.gone)
    ORDER BY schedules.name FOR UPDATE OF schedules SKIP LOCKED
), judged AS (
    SELECT *, seen IS NOT NULL AND overlap <> 'allow' AND EXISTS (
        SELECT FROM {schema}.jobs WHERE jobs.id = locked.last_job_id AND jobs.state IN ('pending', 'processing')
    ) AS busy
    FROM locked
), made AS (
    SELECT job.id, job.schedule, job.due_at, judged.type, judged.payload, {job.options},
           nullif(greatest(job.due_at + make_interval(secs => job.jitter), now()), now()) AS starts_at
    FROM unnest(:job_ids::uuid[], :job_names::text[], :dues::timestamptz[], :job_jitters::float8[], {option_arrays})
        AS job (id, schedule, due_at, jitter, {options})
    JOIN judged ON judged.name = job.schedule
    WHERE NOT judged.busy
), inserted AS (
    INSERT INTO {schema}.jobs (id, queue, type, payload, {options}, is_far, schedule, due_at, state)
    SELECT id, :queue, type, payload, {made.options}, {is_far}, schedule, due_at, 'pending' FROM made
), entry AS (
    INSERT INTO {schema}.outbox (batch, queue, ids, at)
    SELECT :batch, :queue, array_agg(id ORDER BY id), 'epoch' FROM made WHERE NOT {is_far} HAVING count(*) > 0
    RETURNING pg_notify('workqueue', '{schema}')
), last AS (
    SELECT DISTINCT ON (schedule) schedule, id, due_at FROM made ORDER BY schedule, due_at DESC
), moved AS (
    UPDATE {schema}.schedules SET
        next_at = coalesce(judged.next_at, schedules.next_at),
        last_at = coalesce(last.due_at, schedules.last_at),
        last_job_id = coalesce(last.id, schedules.last_job_id),
        -- What was read before a run by hand does not know its job, and so not whether it goes on.
        version = schedules.version + CASE WHEN judged.seen IS NULL THEN 1 ELSE 0 END
    FROM judged LEFT JOIN last ON last.schedule = judged.name
    WHERE schedules.queue = :queue AND schedules.name = judged.name AND NOT (judged.busy AND judged.overlap = 'wait')
    RETURNING schedules.name
), audited AS (
    INSERT INTO {schema}.audit (queue, who, act, target, count)
    SELECT :queue, :audit_who::text, :audit_act::text, :audit_target::json, count(*) FROM made
    WHERE :audit_act::text IS NOT NULL HAVING count(*) > 0
)
SELECT name, (SELECT count(*) FROM made WHERE made.schedule = moved.name) AS made FROM moved
