-- One job, whole, with the progress of its last run.
-- :id uuid
SELECT {job_columns}, result, fraction, text, at
FROM {schema}.jobs LEFT JOIN {schema}.progress ON progress.job_id = jobs.id AND progress.token = jobs.token
WHERE id = :id
