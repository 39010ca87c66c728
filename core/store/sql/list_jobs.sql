-- A page of jobs, newest first. Keyset: goes on behind (:before_at, :before_id), never with OFFSET.
-- :queue text    :type text (null: any)    :state text (null: any)    :before_at timestamptz, :before_id uuid cursor (null: first page)
-- :created_after timestamptz (null: any)    :limit int how many; one more is returned where there are more
-- Planned for its values: each filter has an index of its own. `processing` is list_running_jobs.sql, `pending`
-- list_waiting_jobs.sql.
SELECT {columns}
FROM {schema}.jobs
WHERE queue = :queue
  AND (:type::text IS NULL OR type = :type)
  AND (:state::text IS NULL OR state = :state)
  AND (:state::text IS NULL OR :state NOT IN ('failed', 'cancelled') OR failed_at IS NOT NULL)
  AND (:created_after::timestamptz IS NULL OR created_at >= :created_after)
  AND (:before_at::timestamptz IS NULL OR (created_at, id) < (:before_at, :before_id))
ORDER BY created_at DESC, id DESC
LIMIT :limit + 1
