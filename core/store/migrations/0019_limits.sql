-- How many jobs of a type or a group may run at once, and how many may start in a time (core/limits.py). Redis has a
-- copy, and takes the one with the greater version.
CREATE TABLE {schema}.limits (
    queue    text   PRIMARY KEY, -- the installation
    version  bigint NOT NULL,
    limits   jsonb  NOT NULL, -- scope -> {"running", "rate", "per_seconds"}, as persons have set them
    declared jsonb  NOT NULL  -- the same, as the code of the workers declares them; a person's goes before it
);
