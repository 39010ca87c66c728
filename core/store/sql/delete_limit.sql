-- Take away the limit that a person has set for a scope. No row: there was none, and nothing has changed.
-- :queue text    :scope text
-- :audit_who text (null: no tokens)    :audit_act text (null: no row of the audit)    :audit_target json
WITH changed AS (
    UPDATE {schema}.limits SET version = version + 1, limits = limits - :scope::text
    WHERE queue = :queue AND limits ? :scope::text
    RETURNING version, limits, declared
), audited AS (
    INSERT INTO {schema}.audit (queue, who, act, target)
    SELECT :queue, :audit_who::text, :audit_act::text, :audit_target::json FROM changed WHERE :audit_act::text IS NOT NULL
)
SELECT version, limits, declared FROM changed
