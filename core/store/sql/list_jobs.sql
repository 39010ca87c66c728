-- A page of jobs, newest first. Keyset: goes on behind (:before_at, :before_id), never with OFFSET.
-- :queue text    :type text (null: any)    :state text (null: any)    :before_at timestamptz, :before_id uuid cursor (null: first page)
-- :limit int how many    :bytes_max bigint how many bytes of payloads together (the first row always)
-- Planned for its values: each filter has an index of its own. `processing` is list_running_jobs.sql, `pending`
-- list_waiting_jobs.sql.
-- `more`: there are rows behind the last one. Sizes are read without the payloads: 500 of 1 MiB would be 0.5 GB.
WITH found AS (
    SELECT id, created_at, octet_length(payload)::bigint AS size
    FROM {schema}.jobs
    WHERE queue = :queue
      AND (:type::text IS NULL OR type = :type)
      AND (:state::text IS NULL OR state = :state)
      AND (:state::text IS NULL OR :state NOT IN ('failed', 'cancelled') OR failed_at IS NOT NULL)
      AND (:before_at::timestamptz IS NULL OR (created_at, id) < (:before_at, :before_id))
    ORDER BY created_at DESC, id DESC
    LIMIT :limit + 1
), summed AS (
    SELECT id, row_number() OVER newest AS place, sum(size) OVER newest AS total
    FROM found WINDOW newest AS (ORDER BY created_at DESC, id DESC)
), page AS (
    SELECT id FROM summed WHERE place <= :limit AND (place = 1 OR total <= :bytes_max)
)
SELECT {job_columns},
       (SELECT count(*) FROM page) < (SELECT count(*) FROM found) AS more
FROM page JOIN {schema}.jobs USING (id)
ORDER BY created_at DESC, id DESC
