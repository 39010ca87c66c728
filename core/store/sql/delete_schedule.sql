-- Delete a schedule. One that the code declares stays: it would come back.
-- :queue text    :name text
-- :audit_who text (null: no tokens)    :audit_act text (null: no row of the audit)    :audit_target json
-- Returns name, where it was deleted. Its jobs stay.
WITH deleted AS (
    DELETE FROM {schema}.schedules WHERE queue = :queue AND name = :name AND (source = 'api' OR gone) RETURNING name
), audited AS (
    INSERT INTO {schema}.audit (queue, who, act, target)
    SELECT :queue, :audit_who::text, :audit_act::text, :audit_target::json FROM deleted WHERE :audit_act::text IS NOT NULL
)
SELECT name FROM deleted
