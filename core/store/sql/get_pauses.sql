-- What is paused in a queue; no row: nothing ever was.
-- :queue text
SELECT version, types FROM {schema}.pauses WHERE queue = :queue
