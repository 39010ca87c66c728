-- Pause and resume types of a queue. No row: it would be more than may be paused, and nothing has changed.
-- :queue text    :pause text[]    :resume text[]    :types_max int
-- :audit_who text (null: no tokens)    :audit_act text (null: no row of the audit)    :audit_target json
WITH changed AS (
    INSERT INTO {schema}.pauses AS now (queue, version, types)
    SELECT :queue, 1, ARRAY(SELECT DISTINCT unnest(:pause::text[]) EXCEPT SELECT unnest(:resume::text[]))
    ON CONFLICT (queue) DO UPDATE SET
        version = now.version + 1,
        types = ARRAY(SELECT unnest(now.types) UNION SELECT unnest(:pause::text[]) EXCEPT SELECT unnest(:resume::text[]))
    WHERE cardinality(ARRAY(
        SELECT unnest(now.types) UNION SELECT unnest(:pause::text[]) EXCEPT SELECT unnest(:resume::text[])
    )) <= :types_max
    RETURNING version, types, queues
), audited AS (
    INSERT INTO {schema}.audit (queue, who, act, target)
    SELECT :queue, :audit_who::text, :audit_act::text, :audit_target::json FROM changed WHERE :audit_act::text IS NOT NULL
)
SELECT version, types, queues FROM changed
