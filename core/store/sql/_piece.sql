-- The jobs of an act: the next piece of an action.
-- :action uuid    :after_at timestamptz, :after_id uuid the place up to which jobs were looked at; another worker that is
-- at the same place does nothing    :look int rows to look at    :limit int jobs to change
-- The filter: :queue :status :type :created_after :created_before :error :in_queue :in_group :ids :ended_badly :again :timed (_among.sql, _matching.sql)
guard AS (
    SELECT id FROM {schema}.actions
    WHERE id = :action AND state IN ('running', 'asked') AND after_at = :after_at AND after_id = :after_id
    FOR UPDATE SKIP LOCKED
), looked AS (
    SELECT id, created_at, {applies} AND {matching} AS matches FROM {schema}.jobs
    WHERE EXISTS (SELECT FROM guard) AND {among} AND (created_at, id) > (:after_at, :after_id)
    ORDER BY created_at, id LIMIT :look
), counted AS (
    SELECT id, created_at, matches, count(*) FILTER (WHERE matches) OVER (ORDER BY created_at, id) AS number FROM looked
), piece AS (
    SELECT id, created_at, matches FROM counted WHERE number <= :limit
), last AS (
    SELECT created_at, id FROM piece ORDER BY created_at DESC, id DESC LIMIT 1
), chosen AS (
    SELECT id FROM piece WHERE matches
)
