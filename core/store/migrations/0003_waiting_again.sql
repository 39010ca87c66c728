-- run_at stands in each row that waits again, due or not: so they are found without an index on the state, which every
-- job would pay for. Those that wait for their first run are found by when they were made (list_waiting_jobs.sql).
-- Where there is no delay it is created_at: now() would lie ahead of a clock that is set back, and the job would wait.
-- First what needs the strongest lock on the table: taken last, it could meet a claim that waits for us meanwhile.
DROP INDEX {schema}.jobs_run_at;
CREATE INDEX jobs_again_created ON {schema}.jobs (created_at, id) WHERE run_at IS NOT NULL;
CREATE INDEX jobs_again_type ON {schema}.jobs (type, created_at, id) WHERE run_at IS NOT NULL;
-- No claim that a row has had takes its token away again.
UPDATE {schema}.jobs SET run_at = created_at WHERE state = 'pending' AND run_at IS NULL AND token IS NOT NULL;
