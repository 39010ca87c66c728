-- The types whose jobs are not run for now, by queue. Redis has a copy, and takes the one with the greater version.
CREATE TABLE {schema}.pauses (
    queue   text   PRIMARY KEY,
    version bigint NOT NULL,
    types   text[] NOT NULL
);
