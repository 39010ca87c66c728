-- A page of the jobs that are pending, newest first: what list_jobs.sql does, without a look at the others. What was
-- requeued has an index. What waits for its first run has none (an index that knew it would cost each
-- job more than its claim), but no row becomes one later than by its insert: what a page has seen need not be looked at
-- again, but for the few that it has found there.
-- $1 text queue    $2 text type (null: any)    $3 timestamptz, $4 uuid cursor (null: first page)
-- $5 int how many    $6 bigint how many bytes of payloads together (the first row always)
-- $7 timestamptz floor: what was made before it and waits for its first run is among $8 uuid[]
-- Returns the rows, and in each of them
--   more    there are rows behind the last one
--   floor   a next $7 for this queue and type, together with those of this page; null: with rows behind it, the page has
--           not seen enough. Never later than 15 s ago: an insert is seen from its commit on, but made at its beginning
--           (statement_timeout: 10 s)
-- Where there are none: one row that has these two alone.
WITH again AS (
    SELECT id, created_at, octet_length(payload)::bigint AS size
    FROM {schema}.jobs
    WHERE requeued
      AND queue = $1
      AND state = 'pending'
      AND ($2::text IS NULL OR type = $2)
      AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4))
    ORDER BY created_at DESC, id DESC
    LIMIT $5 + 1
), first AS (
    SELECT id, created_at, octet_length(payload)::bigint AS size
    FROM {schema}.jobs
    WHERE NOT requeued
      AND queue = $1
      AND state = 'pending'
      AND ($2::text IS NULL OR type = $2)
      AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4))
      AND created_at >= $7::timestamptz
      -- Where more wait again than the page takes, nothing behind them is on it. The planner does not know that moment:
      -- it takes a third of the table to be behind it, and reads all, but for little what has an upper limit as well.
      AND created_at >= coalesce((SELECT min(created_at) FROM again HAVING count(*) > $5), $7)
      AND created_at <= coalesce($3, 'infinity')
    ORDER BY created_at DESC, id DESC
    LIMIT $5 + 1
), known AS MATERIALIZED ( -- or the planner takes the index on created_at for them, and goes through half of the table
    SELECT id, created_at, type, octet_length(payload)::bigint AS size
    FROM {schema}.jobs
    WHERE id = ANY ($8::uuid[]) AND NOT requeued AND queue = $1 AND state = 'pending'
), left_behind AS (
    SELECT id, created_at, size
    FROM known
    WHERE ($2::text IS NULL OR type = $2)
      AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4))
      AND created_at < $7::timestamptz
), found AS (
    SELECT * FROM (TABLE again UNION ALL TABLE first UNION ALL TABLE left_behind) AS waiting
    ORDER BY created_at DESC, id DESC
    LIMIT $5 + 1
), summed AS (
    SELECT id, row_number() OVER newest AS place, sum(size) OVER newest AS total
    FROM found WINDOW newest AS (ORDER BY created_at DESC, id DESC)
), page AS (
    SELECT id FROM summed WHERE place <= $5 AND (place = 1 OR total <= $6)
), seen AS (
    SELECT (SELECT count(*) FROM page) < (SELECT count(*) FROM found) AS more
)
SELECT id, type, state, queue, retries, attempts, recoveries, interruptions, payload, error_message, run_at, worker,
       started_at, finished_at, created_at, updated_at, requeued, more,
       CASE WHEN NOT more THEN least($3, now() - interval '15 s') END AS floor
FROM seen LEFT JOIN (page JOIN {schema}.jobs USING (id)) ON true
ORDER BY created_at DESC, id DESC
