-- The columns of `jobs` that the API shows.
id, type, state, queue, {options}, attempts, recoveries, interruptions, payload, error_message, worker,
started_at, finished_at, created_at, updated_at,
cancel_at IS NOT NULL AND state = 'processing' AS cancelling, earlier_runs, schedule, due_at
