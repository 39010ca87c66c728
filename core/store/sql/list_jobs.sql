-- A page of jobs, newest first. Keyset: goes on behind ($4, $5), never with OFFSET.
-- $1 text queue    $2 text type (null: any)    $3 text state (null: any)    $4 timestamptz, $5 uuid cursor (null: first page)
-- $6 int how many    $7 bigint how many bytes of payloads together (the first row always)
-- Planned for its values: each filter has an index of its own. `processing` is list_running_jobs.sql, `pending`
-- list_waiting_jobs.sql.
-- `more`: there are rows behind the last one. Sizes are read without the payloads: 500 of 1 MiB would be 0.5 GB.
WITH found AS (
    SELECT id, created_at, octet_length(payload)::bigint AS size
    FROM {schema}.jobs
    WHERE queue = $1
      AND ($2::text IS NULL OR type = $2)
      AND ($3::text IS NULL OR state = $3)
      AND ($3::text IS NULL OR $3 NOT IN ('failed', 'cancelled') OR failed_at IS NOT NULL)
      AND ($4::timestamptz IS NULL OR (created_at, id) < ($4, $5))
    ORDER BY created_at DESC, id DESC
    LIMIT $6 + 1
), summed AS (
    SELECT id, row_number() OVER newest AS place, sum(size) OVER newest AS total
    FROM found WINDOW newest AS (ORDER BY created_at DESC, id DESC)
), page AS (
    SELECT id FROM summed WHERE place <= $6 AND (place = 1 OR total <= $7)
)
SELECT id, type, state, queue, retries, attempts, recoveries, interruptions, payload, error_message, run_at, worker,
       started_at, finished_at, created_at, updated_at,
       (SELECT count(*) FROM page) < (SELECT count(*) FROM found) AS more
FROM page JOIN {schema}.jobs USING (id)
ORDER BY created_at DESC, id DESC
