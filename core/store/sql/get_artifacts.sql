-- What a job made, without the bytes.
-- :job_id uuid job
SELECT name, content_type, octet_length(bytes) AS bytes FROM {schema}.artifacts WHERE job_id = :job_id ORDER BY name
