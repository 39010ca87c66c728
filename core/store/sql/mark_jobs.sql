-- A person's reconcile: mark what is still pending of these, old enough for the sweep at once.
-- $1 uuid batch    $2 text queue    $3 uuid[] ids
INSERT INTO unpushed (batch, queue, ids, at)
SELECT $1, $2, array_agg(id ORDER BY id), 'epoch' FROM jobs WHERE id = ANY ($3) AND state = 'pending' HAVING count(*) > 0
ON CONFLICT (batch) DO NOTHING
