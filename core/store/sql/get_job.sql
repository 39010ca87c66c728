-- One job, whole.
-- :id uuid
SELECT {job_columns}, result
FROM {schema}.jobs WHERE id = :id
