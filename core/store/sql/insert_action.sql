-- Ask the workers to do something to all jobs that match, but for those that are younger than this.
-- :id uuid    :queue text    :action text    :matched bigint
-- The filter: :status text    :type text    :created_after timestamptz    :created_before timestamptz    :error text    :ids uuid[]
INSERT INTO {schema}.actions (id, queue, action, status, type, created_after, created_before, error, ids, matched)
VALUES (:id, :queue, :action, :status, :type, :created_after, least(:created_before, clock_timestamp()), :error, :ids, :matched)
