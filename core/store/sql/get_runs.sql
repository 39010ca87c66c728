-- The runs of a job that did not complete it, in order.
-- $1 uuid job
SELECT number, worker, started_at, ended_at, outcome, error, traceback FROM {schema}.runs WHERE job_id = $1 ORDER BY number
