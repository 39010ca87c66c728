-- Behind an act on a piece of an action: how far it is now.
, advanced AS (
    UPDATE {schema}.actions SET
        done = actions.done + (SELECT count(*) FROM acted WHERE changed),
        failed = actions.failed + (SELECT count(*) FROM chosen) - (SELECT count(*) FROM acted WHERE changed),
        after_at = coalesce(last.created_at, actions.after_at),
        after_id = coalesce(last.id, actions.after_id),
        state = CASE WHEN (SELECT count(*) FROM looked) < :look AND (SELECT count(*) FROM piece) = (SELECT count(*) FROM looked)
                     THEN 'done' ELSE actions.state END,
        updated_at = now()
    FROM guard LEFT JOIN last ON true
    WHERE actions.id = guard.id
    RETURNING actions.id
)
SELECT id, state, changed, token FROM acted
UNION ALL -- the piece was ours
SELECT NULL, 'running', true, NULL FROM advanced
