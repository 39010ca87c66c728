-- Cancel: a job that waits ends at once; one that runs gets `cancel_at`, and ends when its worker has cancelled it.
-- :queue text    the jobs stand in `chosen`: _ids.sql or _piece.sql
-- Returns id, state, changed, and token of each job that there is. changed: it has ended now, or is asked to end; false:
-- it had ended before. token: of the run that is asked to end. Waits for locked rows (lock_timeout). May be repeated.
-- The task of a job that ends here stays in Redis: a claim finds the row ended, and drops it. One that waits for its time
-- may lie there for longer than the row is kept, so `deleted` remembers it.
WITH {chosen}, locked AS ( -- all of them, so that the states in the answer are the newest
    SELECT id, state, token, run_at FROM {schema}.jobs
    WHERE id IN (SELECT id FROM chosen) AND queue = :queue
      AND (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
    ORDER BY id FOR UPDATE
), ended AS (
    UPDATE {schema}.jobs SET state = 'cancelled', requeued = false, run_at = NULL, is_far = false, finished_at = now(), failed_at = now(),
        updated_at = now()
    FROM locked WHERE jobs.id = locked.id AND locked.state = 'pending'
), asked AS (
    UPDATE {schema}.jobs SET cancel_at = coalesce(jobs.cancel_at, now()), updated_at = now()
    FROM locked WHERE jobs.id = locked.id AND locked.state = 'processing'
), remembered AS (
    INSERT INTO {schema}.deleted (id, queue, at) SELECT id, :queue, run_at FROM locked WHERE state = 'pending' AND run_at > now()
    ON CONFLICT (id) DO UPDATE SET at = greatest(deleted.at, excluded.at)
), acted AS (
    SELECT id, CASE state WHEN 'pending' THEN 'cancelled' ELSE state END AS state, state IN ('pending', 'processing') AS changed,
           CASE state WHEN 'processing' THEN token END AS token
    FROM locked
){done}
