-- Store what running jobs have told since the last time.
-- :progress_jobs uuid[]    :tokens uuid[] of the claims    :fractions float8[]    :progress_texts text[]
-- :log_jobs uuid[]    :numbers bigint[]    :runs int[]    :texts text[]
-- :trimmed uuid[] jobs of which only the newest :keep lines are kept
-- May be repeated. What a job tells that is gone meanwhile is dropped.
WITH told AS (
    INSERT INTO {schema}.progress (job_id, token, fraction, text)
    SELECT given.job_id, given.token, given.fraction, given.text
    FROM unnest(:progress_jobs::uuid[], :tokens::uuid[], :fractions::float8[], :progress_texts::text[])
        AS given (job_id, token, fraction, text)
    JOIN {schema}.jobs ON jobs.id = given.job_id AND jobs.token = given.token
    ORDER BY given.job_id
    ON CONFLICT (job_id) DO UPDATE SET token = excluded.token, fraction = excluded.fraction, text = excluded.text, at = now()
), logged AS (
    INSERT INTO {schema}.logs (job_id, number, run, text)
    SELECT given.job_id, given.number, given.run, given.text
    FROM unnest(:log_jobs::uuid[], :numbers::bigint[], :runs::int[], :texts::text[]) AS given (job_id, number, run, text)
    WHERE EXISTS (SELECT FROM {schema}.jobs WHERE jobs.id = given.job_id)
    ORDER BY given.job_id, given.number
    ON CONFLICT (job_id, number) DO NOTHING
), counted AS (
    SELECT job_id, number, row_number() OVER (PARTITION BY job_id ORDER BY number DESC) AS place
    FROM {schema}.logs WHERE job_id = ANY (:trimmed::uuid[])
)
DELETE FROM {schema}.logs USING counted
WHERE logs.job_id = counted.job_id AND logs.number = counted.number AND counted.place > :keep
