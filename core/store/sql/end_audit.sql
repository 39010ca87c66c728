-- What became of that act.
-- :id bigint    :count bigint
UPDATE {schema}.audit SET count = :count WHERE id = :id
