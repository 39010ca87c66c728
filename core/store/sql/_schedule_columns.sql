-- The columns of `schedules`, and what time it is on this server.
name, source, cron, every, tz, type, payload, options, missed, overlap, jitter, paused_why, gone, next_at, last_at,
last_job_id, version, created_at, updated_at, now() AS now
