-- The jobs of some marks, of those that are there.
-- $1 uuid[] batches
SELECT batch, ids FROM unpushed WHERE batch = ANY ($1)
