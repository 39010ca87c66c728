-- Stop an action where it is. Waits for the piece that is being done (lock_timeout).
-- :id uuid    :queue text
-- Returns id where it was running.
UPDATE {schema}.actions SET state = 'stopped', updated_at = now()
WHERE id = :id AND queue = :queue AND state = 'running' AND (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
RETURNING id
