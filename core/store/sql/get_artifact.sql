-- One artifact of a job.
-- $1 uuid job    $2 text name (null: the first)
SELECT name, content_type, bytes FROM {schema}.artifacts WHERE job_id = $1 AND ($2::text IS NULL OR name = $2) ORDER BY name LIMIT 1
