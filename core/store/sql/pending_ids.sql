-- A person's reconcile: what is pending, in pieces by id.
-- $1 text queue    $2 uuid only ids above it (null: all)    $3 int at most so many
SELECT id FROM jobs WHERE queue = $1 AND state = 'pending' AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3
