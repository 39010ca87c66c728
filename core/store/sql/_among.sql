-- Rows of jobs that a filter may match: the part of it that an index serves, for statements that are planned for their values.
queue = :queue
AND (:type::text IS NULL OR type = :type)
AND (:created_after::timestamptz IS NULL OR created_at >= :created_after)
AND (:created_before::timestamptz IS NULL OR created_at < :created_before)
AND (:ids::uuid[] IS NULL OR id = ANY (:ids))
AND (NOT :ended_badly::bool OR failed_at IS NOT NULL)
AND (NOT :again::bool OR requeued)
AND (NOT :timed::bool OR run_at IS NOT NULL)
