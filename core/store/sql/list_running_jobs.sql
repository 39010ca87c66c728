-- A page of the jobs that are processing, newest first: what list_jobs.sql does, found through the claims that are on
-- their way. An index that knew the state would cost each job more than its claim.
-- $1 text queue    $2 text type (null: any)    $3 timestamptz, $4 uuid cursor (null: first page)
-- $5 int how many    $6 bigint how many bytes of payloads together (the first row always)
WITH given AS (
    SELECT DISTINCT unnest(ids) AS id FROM {schema}.claimed WHERE queue = $1
), found AS (
    SELECT id, created_at, octet_length(payload)::bigint AS size
    FROM given JOIN {schema}.jobs USING (id)
    WHERE queue = $1
      AND state = 'processing'
      AND ($2::text IS NULL OR type = $2)
      AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4))
    ORDER BY created_at DESC, id DESC
    LIMIT $5 + 1
), summed AS (
    SELECT id, row_number() OVER newest AS place, sum(size) OVER newest AS total
    FROM found WINDOW newest AS (ORDER BY created_at DESC, id DESC)
), page AS (
    SELECT id FROM summed WHERE place <= $5 AND (place = 1 OR total <= $6)
)
SELECT id, type, state, queue, retries, attempts, recoveries, interruptions, payload, error_message, run_at, worker,
       started_at, finished_at, created_at, updated_at,
       (SELECT count(*) FROM page) < (SELECT count(*) FROM found) AS more
FROM page JOIN {schema}.jobs USING (id)
ORDER BY created_at DESC, id DESC
