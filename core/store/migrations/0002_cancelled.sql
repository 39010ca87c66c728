-- failed_at stands in each row that ended without a result, cancelled ones too: so they are found without an index on
-- the state, which every job would pay for.
UPDATE jobs SET failed_at = coalesce(finished_at, updated_at) WHERE state = 'cancelled' AND failed_at IS NULL;
