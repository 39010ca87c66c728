-- Note the limits that the code of a worker declares, by scope. No row: nothing differs, or there would be too many, and
-- nothing has changed.
-- :queue text    :declared json, scope -> limit    :scopes text[], of all types that this code has handlers for: those
-- that are not declared go
-- :kind text, the part of these scopes before the colon    :most int, so many of this kind may have a limit
INSERT INTO {schema}.limits AS now (queue, version, limits, declared)
SELECT :queue, 1, '{}', :declared::jsonb
WHERE (SELECT count(*) FROM jsonb_object_keys(:declared::jsonb)) <= :most
ON CONFLICT (queue) DO UPDATE SET
    version = now.version + 1,
    declared = (now.declared - :scopes::text[]) || excluded.declared
WHERE now.declared <> (now.declared - :scopes::text[]) || excluded.declared
  AND (
      SELECT count(*) FROM jsonb_object_keys((now.declared - :scopes::text[]) || excluded.declared || now.limits) AS scope
      WHERE split_part(scope, ':', 1) = :kind
  ) <= :most
RETURNING version, limits, declared
