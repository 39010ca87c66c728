-- Retry by hand: failed and cancelled jobs wait again, with an outbox entry. Their counters begin anew, their runs stay.
-- :queue text    the jobs stand in `chosen`: _ids.sql or _piece.sql    :batch uuid of the outbox entry, fresh for each send
-- Returns id, state and changed of each job that there is; changed: it waits now, false: it is neither failed nor
-- cancelled. Waits for locked rows (lock_timeout). Repeated after a lost answer, changed is false: the outbox entry of
-- the send before has the job.
WITH {chosen}, locked AS ( -- all of them, so that the states in the answer are the newest
    SELECT id, state FROM {schema}.jobs
    WHERE id IN (SELECT id FROM chosen) AND queue = :queue
      AND (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
    ORDER BY id FOR UPDATE
), retried AS (
    UPDATE {schema}.jobs SET
        state = 'pending',
        attempts = 0,
        recoveries = 0,
        interruptions = 0,
        earlier_runs = jobs.earlier_runs + jobs.attempts + jobs.recoveries + jobs.interruptions,
        requeued = true,
        token = NULL,
        run_at = NULL,
        is_far = false,
        cancel_at = NULL,
        error_message = NULL,
        worker = NULL,
        started_at = NULL,
        finished_at = NULL,
        failed_at = NULL,
        updated_at = now()
    FROM locked WHERE jobs.id = locked.id AND locked.state IN ('failed', 'cancelled')
), entry AS (
    INSERT INTO {schema}.outbox (batch, queue, ids)
    SELECT :batch, :queue, array_agg(id ORDER BY id) FROM locked WHERE state IN ('failed', 'cancelled') HAVING count(*) > 0
), acted AS (
    SELECT id, CASE WHEN state IN ('failed', 'cancelled') THEN 'pending' ELSE state END AS state,
           state IN ('failed', 'cancelled') AS changed, NULL::uuid AS token
    FROM locked
){done}
