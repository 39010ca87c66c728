-- Who has claims on their way, dead or alive.
-- :queue text
SELECT DISTINCT owner FROM {schema}.claimed WHERE queue = :queue
