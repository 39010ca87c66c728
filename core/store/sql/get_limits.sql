-- The limits of an installation; no row: there never was one.
-- :queue text
SELECT version, limits, declared FROM {schema}.limits WHERE queue = :queue
