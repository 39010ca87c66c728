-- Jobs that wait.
-- $1 text queue
SELECT id FROM jobs WHERE queue = $1 AND state = 'pending'
