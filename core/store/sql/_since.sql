-- From where on rows have changed lately (changed_jobs.sql). Without a subquery: the planner must know the moment.
(greatest(coalesce(to_timestamp(:since_us::bigint / 1e6), now()), now() - make_interval(secs => :max_seconds))
    - make_interval(secs => :overlap_seconds))
