-- The first statement on a connection: is the session ours alone, and can the database hold our texts?
-- :pid int the number of the process as the server told it when we connected; a pooler tells one that it has made up
-- Returns pooled, encoding. Where the session is ours it gets our limits: a transaction must not outlive us for long,
-- and statements as short as ours are not compiled. In a session that is shared they end with this very statement.
SELECT pg_backend_pid() <> :pid AS pooled, current_setting('server_encoding') AS encoding
FROM (
    SELECT count(set_config(name, value, pg_backend_pid() <> :pid)) AS limits
    FROM (VALUES ('statement_timeout', '10s'), ('lock_timeout', '2s'), ('idle_in_transaction_session_timeout', '10s'),
                 ('jit', 'off')) AS given (name, value)
) AS done
WHERE limits > 0
