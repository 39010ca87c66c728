-- What is paused in a queue; no row: nothing ever was.
-- :queue text
SELECT version, types, queues FROM {schema}.pauses WHERE queue = :queue
