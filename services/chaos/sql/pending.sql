-- Jobs that wait in Redis, or will: those that are far off wait in Postgres alone.
-- $1 text queue
SELECT id FROM {schema}.jobs WHERE queue = $1 AND state = 'pending' AND NOT is_far
