-- Schedules in the order of their names, behind :after.
-- :queue text    :after text    :limit int
SELECT {schedule_columns} FROM {schema}.schedules WHERE queue = :queue AND name > :after ORDER BY name LIMIT :limit
