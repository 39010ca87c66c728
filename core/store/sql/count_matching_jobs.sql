-- How many jobs a filter matches, of those that an act applies to.
-- The filter: :queue :status :type :created_after :created_before :error :in_queue :in_group :ids :ended_badly :again :timed (_among.sql, _matching.sql)
-- Returns matched.
SELECT count(*) AS matched FROM {schema}.jobs WHERE {among} AND {applies} AND {matching}
