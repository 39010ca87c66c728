-- A page of the jobs that are pending, newest first: what list_jobs.sql does, without a look at the others. What was
-- requeued has an index. What waits for its first run has none (an index that knew it would cost each
-- job more than its claim), but no row becomes one later than by its insert: what a page has seen need not be looked at
-- again, but for the few that it has found there.
-- :queue text    :type text (null: any)    :before_at timestamptz, :before_id uuid cursor (null: first page)
-- :created_after timestamptz (null: any)    :limit int how many; one more is returned where there are more
-- :floor timestamptz: what was made before it and waits for its first run is among :left uuid[]
-- Returns the rows, and in each of them
--   floor   a next :floor for this queue and type, together with those of this page; null: with rows behind it, the page has
--           not seen enough. Never later than 15 s ago: an insert is seen from its commit on, but made at its beginning
--           (statement_timeout: 10 s)
-- Where there are none: one row that has the floor alone.
WITH again AS (
    SELECT id, created_at
    FROM {schema}.jobs
    WHERE requeued
      AND queue = :queue
      AND state = 'pending'
      AND (:type::text IS NULL OR type = :type)
      AND (:created_after::timestamptz IS NULL OR created_at >= :created_after)
      AND (:before_at::timestamptz IS NULL OR (created_at, id) < (:before_at, :before_id))
    ORDER BY created_at DESC, id DESC
    LIMIT :limit + 1
), first AS (
    SELECT id, created_at
    FROM {schema}.jobs
    WHERE NOT requeued
      AND queue = :queue
      AND state = 'pending'
      AND (:type::text IS NULL OR type = :type)
      AND (:created_after::timestamptz IS NULL OR created_at >= :created_after)
      AND (:before_at::timestamptz IS NULL OR (created_at, id) < (:before_at, :before_id))
      AND created_at >= :floor::timestamptz
      -- Where more wait again than the page takes, nothing behind them is on it. The planner does not know that moment:
      -- it takes a third of the table to be behind it, and reads all, but for little what has an upper limit as well.
      AND created_at >= coalesce((SELECT min(created_at) FROM again HAVING count(*) > :limit), :floor)
      AND created_at <= coalesce(:before_at, 'infinity')
    ORDER BY created_at DESC, id DESC
    LIMIT :limit + 1
), known AS MATERIALIZED ( -- or the planner takes the index on created_at for them, and goes through half of the table
    SELECT id, created_at, type
    FROM {schema}.jobs
    WHERE id = ANY (:left::uuid[]) AND NOT requeued AND queue = :queue AND state = 'pending'
), left_behind AS (
    SELECT id, created_at
    FROM known
    WHERE (:type::text IS NULL OR type = :type)
      AND (:created_after::timestamptz IS NULL OR created_at >= :created_after)
      AND (:before_at::timestamptz IS NULL OR (created_at, id) < (:before_at, :before_id))
      AND created_at < :floor::timestamptz
), found AS (
    SELECT * FROM (TABLE again UNION ALL TABLE first UNION ALL TABLE left_behind) AS waiting
    ORDER BY created_at DESC, id DESC
    LIMIT :limit + 1
), seen AS (
    SELECT count(*) > :limit AS more FROM found
)
SELECT {columns}, requeued, CASE WHEN NOT more THEN least(:before_at, now() - interval '15 s') END AS floor
FROM seen LEFT JOIN ((SELECT id FROM found) AS page JOIN {schema}.jobs USING (id)) ON true
ORDER BY created_at DESC, id DESC
