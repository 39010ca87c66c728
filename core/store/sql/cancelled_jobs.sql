-- Which of the jobs that a worker runs a person has cancelled.
-- :ids uuid[]
-- Returns id.
SELECT id FROM {schema}.jobs WHERE id = ANY (:ids) AND state = 'processing' AND cancel_at IS NOT NULL
