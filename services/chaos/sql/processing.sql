-- Jobs that are claimed, and their owners: null where no claim is stored.
-- $1 text queue
SELECT jobs.id, claimed.owner
FROM {schema}.jobs LEFT JOIN {schema}.claimed ON claimed.token = jobs.token
WHERE jobs.queue = $1 AND jobs.state = 'processing'
