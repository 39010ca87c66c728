-- What a job made, without the bytes.
-- $1 uuid job
SELECT name, content_type, octet_length(bytes) AS bytes FROM {schema}.artifacts WHERE job_id = $1 ORDER BY name
