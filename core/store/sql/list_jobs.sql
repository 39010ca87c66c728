-- A page of jobs, newest first. Keyset: goes on behind ($4, $5), never with OFFSET.
-- $1 text queue    $2 text type (null: any)    $3 text state (null: any)    $4 timestamptz, $5 uuid cursor (null: first page)
-- $6 int how many
SELECT id, type, state, queue, retries, attempts, recoveries, interruptions, payload, error_message, run_at, worker,
       started_at, finished_at, created_at, updated_at
FROM jobs
WHERE queue = $1
  AND ($2::text IS NULL OR type = $2)
  AND ($3::text IS NULL OR state = $3)
  AND ($3::text IS DISTINCT FROM 'failed' OR failed_at IS NOT NULL)
  AND ($4::timestamptz IS NULL OR (created_at, id) < ($4, $5))
ORDER BY created_at DESC, id DESC
LIMIT $6
