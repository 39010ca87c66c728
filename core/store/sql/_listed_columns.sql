-- The columns of `jobs` that a list shows: of long texts the beginning, or 500 payloads of 1 MiB would be 0.5 GB.
-- :payload_max int, :error_max int: so many characters of them
id, type, state, queue, {options}, attempts, recoveries, interruptions, left(payload, :payload_max) AS payload,
left(error_message, :error_max) AS error_message, worker, started_at, finished_at, created_at, updated_at,
cancel_at IS NOT NULL AND state = 'processing' AS cancelling, earlier_runs, schedule, due_at
