-- Jobs that wait.
-- $1 text queue
SELECT id FROM {schema}.jobs WHERE queue = $1 AND state = 'pending'
