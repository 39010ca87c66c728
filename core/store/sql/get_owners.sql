-- Who has claims on their way, dead or alive.
-- $1 text queue
SELECT DISTINCT owner FROM {schema}.claimed WHERE queue = $1
