-- The tasks of jobs that are still pending and not far off, in pieces: the caller goes on behind the last id of an answer.
-- :ids uuid[]    :after uuid only ids above it (null: all)    :bytes_max bigint at most so many bytes, the first row always
-- Returns everything that a task is made of, and delay_ms until it is due.
SELECT id, type, payload, extra, {options}, attempts, recoveries, interruptions, delay_ms
FROM (
    SELECT id, type, payload, extra, {options}, attempts, recoveries, interruptions,
           greatest(0, ceil(extract(epoch FROM run_at - now()) * 1000))::bigint AS delay_ms,
           sum(octet_length(payload)) OVER (ORDER BY id) - octet_length(payload) AS bytes_before
    FROM {schema}.jobs
    WHERE id = ANY (:ids) AND state = 'pending' AND NOT is_far AND (:after::uuid IS NULL OR id > :after)
) AS waiting
WHERE bytes_before < :bytes_max
ORDER BY id
LIMIT 1000
