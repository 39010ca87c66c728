-- Pause and resume queues of an installation. No row: it would be more than may be paused, and nothing has changed.
-- :queue text (the installation)    :pause text[]    :resume text[]    :queues_max int
-- :audit_who text (null: no tokens)    :audit_act text (null: no row of the audit)    :audit_target json
WITH changed AS (
    INSERT INTO {schema}.pauses AS now (queue, version, types, queues)
    SELECT :queue, 1, '{}', ARRAY(SELECT DISTINCT unnest(:pause::text[]) EXCEPT SELECT unnest(:resume::text[]))
    ON CONFLICT (queue) DO UPDATE SET
        version = now.version + 1,
        queues = ARRAY(SELECT unnest(now.queues) UNION SELECT unnest(:pause::text[]) EXCEPT SELECT unnest(:resume::text[]))
    WHERE cardinality(ARRAY(
        SELECT unnest(now.queues) UNION SELECT unnest(:pause::text[]) EXCEPT SELECT unnest(:resume::text[])
    )) <= :queues_max
    RETURNING version, types, queues
), audited AS (
    INSERT INTO {schema}.audit (queue, who, act, target)
    SELECT :queue, :audit_who::text, :audit_act::text, :audit_target::json FROM changed WHERE :audit_act::text IS NOT NULL
)
SELECT version, types, queues FROM changed
