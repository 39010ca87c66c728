-- The tasks of jobs that are still pending, in pieces: the caller goes on behind the last id of an answer.
-- $1 uuid[] ids    $2 uuid only ids above it (null: all)    $3 bigint at most so many bytes, the first row always
-- Returns everything that a task is made of, and delay_ms until it is due.
SELECT id, type, payload, extra, retries, attempts, recoveries, interruptions, delay_ms
FROM (
    SELECT id, type, payload, extra, retries, attempts, recoveries, interruptions,
           greatest(0, ceil(extract(epoch FROM run_at - now()) * 1000))::bigint AS delay_ms,
           sum(octet_length(payload)) OVER (ORDER BY id) - octet_length(payload) AS bytes_before
    FROM {schema}.jobs
    WHERE id = ANY ($1) AND state = 'pending' AND ($2::uuid IS NULL OR id > $2)
) AS waiting
WHERE bytes_before < $3
ORDER BY id
LIMIT 1000
