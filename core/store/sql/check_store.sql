-- Would Postgres take and keep a row, and may we do all that our statements do?
-- Returns
--   read_only  'on': a standby
--   oldest     the oldest protocol that may work with these tables (the column is younger than its table)
--   missing    names of tables that are not there
--   strange    names of what is there and is no table, each with its letter in pg_class
--   denied     rights that we do not have (docs/deployment.md lists them all)
WITH needed AS (
    SELECT name, rights, to_regclass(format('{schema}.%I', name)) AS oid
    FROM (VALUES
        ('artifacts', 'SELECT, INSERT, UPDATE'),
        ('claimed', 'SELECT, INSERT, DELETE'),
        ('deleted', 'SELECT, INSERT, UPDATE, DELETE'),
        ('idempotency', 'SELECT, INSERT, UPDATE, DELETE'),
        ('installation', 'SELECT'),
        ('jobs', 'SELECT, INSERT, UPDATE, DELETE'),
        ('migrations', 'SELECT'),
        ('outbox', 'SELECT, INSERT, UPDATE, DELETE'),
        ('redis_checkpoints', 'SELECT, INSERT, UPDATE'),
        ('runs', 'SELECT, INSERT'),
        ('unique_keys', 'SELECT, INSERT, UPDATE, DELETE')
    ) AS given (name, rights)
), found AS (
    SELECT name, rights, needed.oid, pg_class.relkind::text AS kind FROM needed LEFT JOIN pg_class ON pg_class.oid = needed.oid
), denied AS (
    SELECT name, "right" FROM found, regexp_split_to_table(rights, ', ') AS "right"
    WHERE oid IS NOT NULL AND NOT has_table_privilege(oid, "right")
)
SELECT current_setting('transaction_read_only') AS read_only,
       (SELECT coalesce(max((to_jsonb(m) ->> 'oldest')::int), 0) FROM {schema}.migrations m) AS oldest,
       ARRAY(SELECT name FROM found WHERE oid IS NULL ORDER BY name) AS missing,
       ARRAY(SELECT name || ' ' || kind FROM found WHERE kind NOT IN ('r', 'p') ORDER BY name) AS strange,
       ARRAY(SELECT format('%s on %s', "right", name) FROM denied ORDER BY name, "right") AS denied
