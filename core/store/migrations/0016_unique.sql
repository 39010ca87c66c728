-- Unique keys: one job at a time under each. Nothing frees a key: whether it is free is judged by the next submit under
-- it, from the row of the job that holds it. So no statement that ends a job knows of keys, and no death leaves one held.
ALTER TABLE {schema}.jobs
    ADD COLUMN unique_key text,
    ADD COLUMN unique_until text, -- null: until the job has ended; `started`; or a number of seconds
    ADD COLUMN on_duplicate text, -- null: a repeat is dropped; `replace`
    ADD COLUMN replaced boolean;  -- it waited when its key came again: its tasks in Redis are old, the row is right

CREATE TABLE {schema}.unique_keys (
    queue         text    NOT NULL, -- the installation
    key           text    NOT NULL,
    job_id        uuid    NOT NULL, -- the last job that got it
    until_started boolean NOT NULL, -- free when that job was claimed; else when it has ended
    free_at       timestamptz,      -- free then, whatever became of the job; null: as above
    PRIMARY KEY (queue, key)
);

-- What a repeat under an idempotency key is told, where the job was another's by its unique key.
ALTER TABLE {schema}.idempotency ADD COLUMN duplicate boolean;
