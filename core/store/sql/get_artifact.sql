-- One artifact of a job.
-- :job_id uuid job    :name text (null: the first)
SELECT name, content_type, bytes FROM {schema}.artifacts WHERE job_id = :job_id AND (:name::text IS NULL OR name = :name) ORDER BY name LIMIT 1
