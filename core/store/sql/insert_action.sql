-- Ask the workers to do something to all jobs that match, but for those that are younger than this; and a row of the audit.
-- :id uuid    :queue text    :action text    :matched bigint
-- The filter: :status text    :type text    :created_after timestamptz    :created_before timestamptz    :error text
-- :in_queue text    :in_group text    :ids uuid[]. With :in_queue or :in_group its state is another one: workers of the release before do not know it, and would
-- do it to the jobs of all queues
-- :audit_who text (null: no tokens)    :audit_act text (null: no row)    :audit_target json
WITH asked AS (
    INSERT INTO {schema}.actions (id, queue, action, status, type, created_after, created_before, error, in_queue, in_group, ids, matched, state)
    VALUES (:id, :queue, :action, :status, :type, :created_after, least(:created_before, clock_timestamp()), :error, :in_queue, :in_group, :ids, :matched,
            CASE WHEN :in_queue::text IS NULL AND :in_group::text IS NULL THEN 'running' ELSE 'asked' END)
)
INSERT INTO {schema}.audit (queue, who, act, target, count)
SELECT :queue, :audit_who::text, :audit_act::text, :audit_target::json, :matched WHERE :audit_act::text IS NOT NULL
