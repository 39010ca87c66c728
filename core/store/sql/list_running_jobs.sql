-- A page of the jobs that are processing, newest first: what list_jobs.sql does, found through the claims that are on
-- their way. An index that knew the state would cost each job more than its claim.
-- :queue text    :type text (null: any)    :before_at timestamptz, :before_id uuid cursor (null: first page)
-- :created_after timestamptz (null: any)    :limit int how many; one more is returned where there are more
WITH given AS (
    SELECT DISTINCT unnest(ids) AS id FROM {schema}.claimed WHERE queue = :queue
)
SELECT {columns}
FROM given JOIN {schema}.jobs USING (id)
WHERE queue = :queue
  AND state = 'processing'
  AND (:type::text IS NULL OR type = :type)
  AND (:created_after::timestamptz IS NULL OR created_at >= :created_after)
  AND (:before_at::timestamptz IS NULL OR (created_at, id) < (:before_at, :before_id))
ORDER BY created_at DESC, id DESC
LIMIT :limit + 1
