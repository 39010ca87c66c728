-- The audit: what is processing under a claim of this owner.
-- :owner uuid (lease)
-- Returns token and id; id is null where nothing of a claim is left.
SELECT claimed.token, jobs.id
FROM {schema}.claimed
CROSS JOIN LATERAL unnest(claimed.ids) AS given (id)
LEFT JOIN {schema}.jobs ON jobs.id = given.id AND jobs.token = claimed.token AND jobs.state = 'processing'
WHERE claimed.owner = :owner
