-- Names that the field has for these things, and two meanings of run_at apart: from here on it is the time before which
-- a job does not start, and nothing else. `requeued` stands in each row that returned to pending after a claim, until
-- it ends: so these are found without an index on the state, which every job would pay for.
-- oldest protocol: 2
-- The strongest locks first, in one order: taken last, they could meet a statement that waits for us meanwhile.
LOCK TABLE {schema}.jobs, {schema}.unpushed, {schema}.claimed, {schema}.marks IN ACCESS EXCLUSIVE MODE;

ALTER TABLE {schema}.unpushed RENAME TO outbox;
ALTER TABLE {schema}.outbox RENAME CONSTRAINT unpushed_pkey TO outbox_pkey;

ALTER TABLE {schema}.marks RENAME TO redis_checkpoints;
ALTER TABLE {schema}.redis_checkpoints RENAME CONSTRAINT marks_pkey TO redis_checkpoints_pkey;
ALTER TABLE {schema}.redis_checkpoints RENAME COLUMN run TO server_run_id;
ALTER TABLE {schema}.redis_checkpoints RENAME COLUMN n TO position_ms;
-- The key that Redis keeps beside it has a new name, too: nothing is known yet, and what is pending is pushed once more.
DELETE FROM {schema}.redis_checkpoints;

ALTER TABLE {schema}.jobs ADD COLUMN requeued boolean NOT NULL DEFAULT false;
UPDATE {schema}.jobs SET requeued = true, run_at = CASE WHEN run_at > created_at THEN run_at END
WHERE state IN ('pending', 'processing') AND run_at IS NOT NULL;
DROP INDEX {schema}.jobs_again_created;
DROP INDEX {schema}.jobs_again_type;
CREATE INDEX jobs_requeued_created ON {schema}.jobs (created_at, id) WHERE requeued;
CREATE INDEX jobs_requeued_type ON {schema}.jobs (type, created_at, id) WHERE requeued;

DROP INDEX {schema}.jobs_failed; -- no statement looks for it
ALTER TABLE {schema}.claimed DROP COLUMN at; -- no statement reads it
