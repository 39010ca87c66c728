-- Set the limit of a scope, instead of one that it may have. No row: there would be too many, and nothing has changed.
-- :queue text    :scope text    :limit json    :kind text, the part of the scope before its colon
-- :most int, so many scopes of this kind may have a limit, declared ones among them
-- :audit_who text (null: no tokens)    :audit_act text (null: no row of the audit)    :audit_target json
WITH changed AS (
    INSERT INTO {schema}.limits AS now (queue, version, limits, declared)
    VALUES (:queue, 1, jsonb_build_object(:scope::text, :limit::jsonb), '{}')
    ON CONFLICT (queue) DO UPDATE SET version = now.version + 1, limits = now.limits || excluded.limits
    WHERE (
        SELECT count(*) FROM jsonb_object_keys(now.declared || now.limits || excluded.limits) AS scope
        WHERE split_part(scope, ':', 1) = :kind
    ) <= :most
    RETURNING version, limits, declared
), audited AS (
    INSERT INTO {schema}.audit (queue, who, act, target)
    SELECT :queue, :audit_who::text, :audit_act::text, :audit_target::json FROM changed WHERE :audit_act::text IS NOT NULL
)
SELECT version, limits, declared FROM changed
