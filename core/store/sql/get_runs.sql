-- Runs of a job that did not complete it: the newest, in order. A job may have a million, with 64 KiB of traceback each.
-- $1 uuid job    $2 int only runs with a lower number (null: all)    $3 int how many
-- $4 bigint how many bytes of errors and tracebacks together (the newest run always)
-- `more`: there are older ones. Sizes are read without the texts.
WITH found AS (
    SELECT number, coalesce(octet_length(error), 0) + coalesce(octet_length(traceback), 0) AS size
    FROM {schema}.runs
    WHERE job_id = $1 AND ($2::int IS NULL OR number < $2)
    ORDER BY number DESC
    LIMIT $3 + 1
), summed AS (
    SELECT number, row_number() OVER newest AS place, sum(size) OVER newest AS total
    FROM found WINDOW newest AS (ORDER BY number DESC)
), shown AS (
    SELECT number FROM summed WHERE place <= $3 AND (place = 1 OR total <= $4)
)
SELECT number, worker, started_at, ended_at, outcome, error, traceback,
       (SELECT count(*) FROM shown) < (SELECT count(*) FROM found) AS more
FROM shown JOIN {schema}.runs USING (number)
WHERE job_id = $1
ORDER BY number
