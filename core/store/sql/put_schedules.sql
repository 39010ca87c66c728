-- Create schedules, or change their definitions. Where nothing differs nothing is written; where the times are the same
-- `next_at` stays, so that no due time is lost or comes twice. One of the other source is left alone, unless it is gone.
-- :queue text    :source text 'code' or 'api'    :names text[]    :crons text[]    :everies float8[]    :tzs text[]
-- :types text[]    :payloads text[]    :option_texts text[]    :misseds text[]    :overlaps text[]    :jitters float8[]
-- :next_ats timestamptz[] where they are new, or their times are
-- :audit_who text (null: no tokens)    :audit_act text (null: no row of the audit)    :audit_target json
-- Returns name and returned (its code declares it again) of each that was written. May be repeated.
WITH given AS (
    SELECT *
    FROM unnest(:names::text[], :crons::text[], :everies::float8[], :tzs::text[], :types::text[], :payloads::text[],
                :option_texts::text[], :misseds::text[], :overlaps::text[], :jitters::float8[], :next_ats::timestamptz[])
        AS given (name, cron, every, tz, type, payload, options, missed, overlap, jitter, next_at)
), before AS (
    SELECT schedules.name FROM {schema}.schedules JOIN given ON given.name = schedules.name
    WHERE schedules.queue = :queue AND schedules.gone
), written AS (
    INSERT INTO {schema}.schedules AS old
        (queue, name, source, cron, every, tz, type, payload, options, missed, overlap, jitter, next_at)
    SELECT :queue, name, :source, cron, every, tz, type, payload, options, missed, overlap, jitter, next_at
    FROM given ORDER BY name
    ON CONFLICT (queue, name) DO UPDATE SET
        source = excluded.source, cron = excluded.cron, every = excluded.every, tz = excluded.tz, type = excluded.type,
        payload = excluded.payload, options = excluded.options, missed = excluded.missed, overlap = excluded.overlap,
        jitter = excluded.jitter, gone = false, version = old.version + 1, updated_at = now(),
        next_at = CASE WHEN (old.cron, old.every, old.tz) IS NOT DISTINCT FROM (excluded.cron, excluded.every, excluded.tz)
                       THEN old.next_at ELSE excluded.next_at END
    WHERE (old.source = excluded.source OR old.gone)
      AND (old.gone
           OR (old.cron, old.every, old.tz, old.type, old.payload, old.options, old.missed, old.overlap, old.jitter)
              IS DISTINCT FROM
              (excluded.cron, excluded.every, excluded.tz, excluded.type, excluded.payload, excluded.options, excluded.missed,
               excluded.overlap, excluded.jitter))
    RETURNING name
), audited AS (
    INSERT INTO {schema}.audit (queue, who, act, target)
    SELECT :queue, :audit_who::text, :audit_act::text, :audit_target::json FROM written WHERE :audit_act::text IS NOT NULL
)
SELECT name, name IN (SELECT name FROM before) AS returned FROM written
