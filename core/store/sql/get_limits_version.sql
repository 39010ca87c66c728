-- The version of the limits of an installation; no row: there never was one.
-- :queue text
SELECT version FROM {schema}.limits WHERE queue = :queue
