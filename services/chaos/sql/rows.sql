-- What the rows say of the jobs of a run, in pieces by id, without those that a schedule has made.
-- $1 text queue    $2 uuid only ids above it (null: all)    $3 int at most so many
-- Returns id, n (the job's own number), state, the counters, retries, earlier_runs, error_message.
SELECT id, (payload::json ->> 'n')::bigint AS n, state, attempts, recoveries, interruptions, retries, earlier_runs, error_message
FROM {schema}.jobs
WHERE queue = $1 AND schedule IS NULL AND ($2::uuid IS NULL OR id > $2)
ORDER BY id LIMIT $3
