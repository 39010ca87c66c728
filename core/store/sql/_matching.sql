-- Of a row of jobs: does it match the filter of core/job_filter.py? What an index may help with stands in the statements.
(:status::text IS NULL
 OR :status NOT IN ('scheduled', 'retrying') AND state = :status
 OR :status = 'scheduled' AND state = 'pending' AND run_at > now() AND attempts = 0
 OR :status = 'retrying' AND state = 'pending' AND attempts > 0)
AND (:in_queue::text IS NULL OR in_queue = :in_queue)
AND (:in_group::text IS NULL OR in_group = :in_group)
AND (:error::text IS NULL OR error_message ILIKE :error)
