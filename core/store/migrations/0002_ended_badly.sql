-- failed_at stands in each row that ended without a result, cancelled ones too: so they are found without an index on
-- the state, which every job would pay for.
UPDATE {schema}.jobs SET failed_at = coalesce(finished_at, updated_at) WHERE state = 'cancelled' AND failed_at IS NULL;
-- Of one type: among the failures of all types they would be looked for one by one.
CREATE INDEX jobs_failed_type ON {schema}.jobs (type, created_at, id) WHERE failed_at IS NOT NULL;
