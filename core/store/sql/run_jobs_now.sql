-- Run now: jobs that wait for a time are due, with an outbox entry.
-- :queue text    the jobs stand in `chosen`: _ids.sql or _piece.sql    :batch uuid of the outbox entry, fresh for each send
-- Returns id, state and changed of each job that there is; changed: it is due now, false: it waits for no time. Waits
-- for locked rows (lock_timeout). Repeated after a lost answer, changed is false: the outbox entry of the send before
-- has the job.
-- Its task stays in the scheduled set, and comes a second time: a claim finds the row claimed or ended, and drops it.
-- It may come when the row is no longer kept, so `deleted` remembers it.
WITH {chosen}, locked AS ( -- all of them, so that the states in the answer are the newest
    SELECT id, state, run_at FROM {schema}.jobs
    WHERE id IN (SELECT id FROM chosen) AND queue = :queue
      AND (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
    ORDER BY id FOR UPDATE
), early AS (
    SELECT id, run_at FROM locked WHERE state = 'pending' AND run_at > now()
), due AS (
    UPDATE {schema}.jobs SET run_at = NULL, is_far = false, updated_at = now() FROM early WHERE jobs.id = early.id
), remembered AS (
    INSERT INTO {schema}.deleted (id, queue, at) SELECT id, :queue, run_at FROM early
    ON CONFLICT (id) DO UPDATE SET at = greatest(deleted.at, excluded.at)
), entry AS (
    INSERT INTO {schema}.outbox (batch, queue, ids)
    SELECT :batch, :queue, array_agg(id ORDER BY id) FROM early HAVING count(*) > 0
), acted AS (
    SELECT id, state, id IN (SELECT id FROM early) AS changed, NULL::uuid AS token FROM locked
){done}
