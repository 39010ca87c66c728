-- A row of the audit for an act that is none of Postgres's, before it is done.
-- :queue text    :audit_who text (null: no tokens)    :audit_act text    :audit_target json
-- Returns id.
INSERT INTO {schema}.audit (queue, who, act, target) VALUES (:queue, :audit_who, :audit_act, :audit_target::json) RETURNING id
