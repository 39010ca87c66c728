-- A page of the jobs that are processing, newest first: what list_jobs.sql does, found through the claims that are on
-- their way. An index that knew the state would cost each job more than its claim.
-- :queue text    :type text (null: any)    :before_at timestamptz, :before_id uuid cursor (null: first page)
-- :limit int how many    :bytes_max bigint how many bytes of payloads together (the first row always)
WITH given AS (
    SELECT DISTINCT unnest(ids) AS id FROM {schema}.claimed WHERE queue = :queue
), found AS (
    SELECT id, created_at, octet_length(payload)::bigint AS size
    FROM given JOIN {schema}.jobs USING (id)
    WHERE queue = :queue
      AND state = 'processing'
      AND (:type::text IS NULL OR type = :type)
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
