-- How jobs are that are watched, with the progress of their last runs.
-- :ids uuid[], as text
-- Returns of each that there is id, state, attempts, cancelling, run_at, fraction, text, at (the last three null: no progress).
SELECT id, state, attempts, cancel_at IS NOT NULL AND state = 'processing' AS cancelling, run_at, fraction, text, at
FROM {schema}.jobs LEFT JOIN {schema}.progress ON progress.job_id = jobs.id AND progress.token = jobs.token
WHERE id = ANY (:ids::text::uuid[])
