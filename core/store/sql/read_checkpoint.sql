-- Loss of Redis: what Redis was last known to be and to remember, and the time on this clock in ms.
-- $1 text queue
-- Returns one row: server_run_id (null: nothing known yet), position_ms, now_ms.
SELECT server_run_id, coalesce(position_ms, 0) AS position_ms, (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms
FROM (VALUES ($1)) AS asked (queue) LEFT JOIN {schema}.redis_checkpoints USING (queue)
