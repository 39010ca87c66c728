-- The oldest protocol that may work with these tables; the column is younger than its table.
SELECT coalesce(max((to_jsonb(m) ->> 'oldest')::int), 0) AS oldest FROM {schema}.migrations m
