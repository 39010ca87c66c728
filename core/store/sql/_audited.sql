-- Behind an act on jobs that were named: a row of the audit, where something has changed.
, audited AS (
    INSERT INTO {schema}.audit (queue, who, act, target, count)
    SELECT :queue, :audit_who::text, :audit_act::text, :audit_target::json, count(*) FROM acted
    WHERE changed AND :audit_act::text IS NOT NULL HAVING count(*) > 0
)
SELECT id, state, changed, token FROM acted
