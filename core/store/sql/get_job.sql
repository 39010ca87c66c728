-- One job, whole.
-- $1 uuid id
SELECT id, type, state, queue, retries, attempts, recoveries, interruptions, payload, error_message, run_at, worker,
       started_at, finished_at, created_at, updated_at, result
FROM {schema}.jobs WHERE id = $1
