-- What has changed is looked for each second where a person watches (changed_jobs.sql). Pages that are not in this index yet
-- are all read for it: without this they wait for a vacuum, which comes after a fifth of the table was inserted.
ALTER INDEX {schema}.jobs_updated SET (autosummarize = on);
