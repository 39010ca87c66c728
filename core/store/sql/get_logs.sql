-- The lines that the handler of a job has logged, in order.
-- :id uuid    :after bigint only lines with a higher number    :limit int    :keep int the newest lines of the job alone
-- Returns number, run, text.
SELECT number, run, text FROM (
    SELECT number, run, text FROM {schema}.logs WHERE job_id = :id ORDER BY number DESC LIMIT :keep
) AS newest
WHERE number > :after ORDER BY number LIMIT :limit
