-- Pause or resume a schedule.
-- :queue text    :name text    :version bigint that was read    :paused_why text (null: resumed)
-- :next_at timestamptz where it is resumed: what was due meanwhile makes no jobs
-- :audit_who text (null: no tokens)    :audit_act text (null: no row of the audit)    :audit_target json
-- Returns name, unless it has changed since it was read.
WITH changed AS (
    UPDATE {schema}.schedules SET paused_why = :paused_why::text, next_at = coalesce(:next_at::timestamptz, next_at),
        version = version + 1, updated_at = now()
    WHERE queue = :queue AND name = :name AND version = :version
    RETURNING name
), audited AS (
    INSERT INTO {schema}.audit (queue, who, act, target)
    SELECT :queue, :audit_who::text, :audit_act::text, :audit_target::json FROM changed WHERE :audit_act::text IS NOT NULL
)
SELECT name FROM changed
