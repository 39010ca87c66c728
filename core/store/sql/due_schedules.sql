-- The schedules that are due, longest first. One that waits for the end of its last job is not, until then.
-- :queue text    :limit int
SELECT {schedule_columns} FROM {schema}.schedules
WHERE queue = :queue AND paused_why IS NULL AND NOT gone AND next_at <= now()
  AND NOT (overlap = 'wait' AND EXISTS (
      SELECT FROM {schema}.jobs WHERE jobs.id = schedules.last_job_id AND jobs.state IN ('pending', 'processing')
  ))
ORDER BY next_at LIMIT :limit
