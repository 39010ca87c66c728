-- Stop an action where it is. Waits for the piece that is being done (lock_timeout). And a row of the audit, where it ran.
-- :id uuid    :queue text
-- :audit_who text (null: no tokens)    :audit_act text (null: no row)    :audit_target json
-- Returns id where it was running.
WITH stopped AS (
    UPDATE {schema}.actions SET state = 'stopped', updated_at = now()
    WHERE id = :id AND queue = :queue AND state IN ('running', 'asked') AND (SELECT set_config('lock_timeout', '2s', true)) IS NOT NULL
    RETURNING id, done
), audited AS (
    INSERT INTO {schema}.audit (queue, who, act, target, count)
    SELECT :queue, :audit_who::text, :audit_act::text, :audit_target::json, done FROM stopped WHERE :audit_act::text IS NOT NULL
)
SELECT id FROM stopped
