-- Jobs that are in somebody's hands, and in whose: owner is null where no claim is noted.
-- $1 text queue
SELECT jobs.id, claimed.owner
FROM {schema}.jobs LEFT JOIN {schema}.claimed ON claimed.token = jobs.token
WHERE jobs.queue = $1 AND jobs.state = 'processing'
