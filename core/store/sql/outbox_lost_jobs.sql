-- Loss of Redis: it is another server, or has forgotten something. What is pending and may be missing there goes into the
-- outbox.
-- :queue text    :server_run_id text and :position_ms bigint that are known so far (else another worker was
-- quicker: nothing is done)    :new_server_run_id text server_run_id of this Redis
-- :remembered_ms bigint the checkpoint that it remembers, ms of this clock (negative: none, all may be missing)
-- At most every 10 s. Entries of 500 jobs each, old enough for the relay at once; those of the first look ever are new: a
-- producer is just at work on the first jobs.
-- Returns guarded (1: done, 0: another worker, or too soon), added.
WITH guard AS (
    INSERT INTO {schema}.redis_checkpoints (queue, server_run_id, at) VALUES (:queue, :new_server_run_id, 'epoch') -- the first look ever is no loss
    ON CONFLICT (queue) DO UPDATE SET server_run_id = excluded.server_run_id, at = now()
    WHERE redis_checkpoints.server_run_id IS NOT DISTINCT FROM :server_run_id AND redis_checkpoints.position_ms = :position_ms
      AND redis_checkpoints.at < now() - interval '10 seconds'
    RETURNING at = 'epoch' AS is_first
), lost AS (
    SELECT id, (row_number() OVER () - 1) / 500 AS piece
    FROM {schema}.jobs
    WHERE EXISTS (SELECT FROM guard) AND queue = :queue AND state = 'pending' AND NOT is_far
      AND updated_at >= to_timestamp(:remembered_ms::bigint / 1000.0) - interval '60 seconds'
), entries AS (
    INSERT INTO {schema}.outbox (batch, queue, ids, at)
    SELECT gen_random_uuid(), :queue, array_agg(id ORDER BY id), CASE WHEN (SELECT is_first FROM guard) THEN now() ELSE 'epoch' END
    FROM lost GROUP BY piece
)
SELECT (SELECT count(*) FROM guard) AS guarded, (SELECT count(*) FROM lost) AS added
