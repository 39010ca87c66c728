-- The due times of a schedule, and how many jobs each has.
-- $1 text queue    $2 text schedule
-- Returns due_at, count, in order.
SELECT due_at, count(*) AS count FROM {schema}.jobs WHERE queue = $1 AND schedule = $2 GROUP BY due_at ORDER BY due_at
