-- The schedules with these names; those that are not there are missing.
-- :queue text    :names text[]
SELECT {schedule_columns} FROM {schema}.schedules WHERE queue = :queue AND name = ANY (:names::text[])
