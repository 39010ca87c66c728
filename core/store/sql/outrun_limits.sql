-- Give the limits a greater version than this one, which Redis has from a time that this database does not know of.
-- :queue text    :version bigint
INSERT INTO {schema}.limits AS now (queue, version, limits, declared) VALUES (:queue, :version + 1, '{}', '{}')
ON CONFLICT (queue) DO UPDATE SET version = :version + 1 WHERE now.version < :version
