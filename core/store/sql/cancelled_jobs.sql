-- Which of the jobs that a worker runs a person has cancelled.
-- :ids uuid[]
-- Returns token and id, of the run that is to end: the job itself may run anew when the answer comes.
SELECT token, id FROM {schema}.jobs WHERE id = ANY (:ids) AND state = 'processing' AND cancel_at IS NOT NULL
