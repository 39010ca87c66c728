-- Runs of a job that did not complete it: the newest, in order. A job may have a million, with 64 KiB of traceback each.
-- :job_id uuid job    :before int only runs with a lower number (null: all)    :limit int how many
-- :bytes_max bigint how many bytes of errors and tracebacks together (the newest run always)
-- `more`: there are older ones. Sizes are read without the texts.
WITH found AS (
    SELECT number, coalesce(octet_length(error), 0) + coalesce(octet_length(traceback), 0) AS size
    FROM {schema}.runs
    WHERE job_id = :job_id AND (:before::int IS NULL OR number < :before)
    ORDER BY number DESC
    LIMIT :limit + 1
), summed AS (
    SELECT number, row_number() OVER newest AS place, sum(size) OVER newest AS total
    FROM found WINDOW newest AS (ORDER BY number DESC)
), shown AS (
    SELECT number FROM summed WHERE place <= :limit AND (place = 1 OR total <= :bytes_max)
)
SELECT number, worker, started_at, ended_at, outcome, error, traceback,
       (SELECT count(*) FROM shown) < (SELECT count(*) FROM found) AS more
FROM shown JOIN {schema}.runs USING (number)
WHERE job_id = :job_id
ORDER BY number
