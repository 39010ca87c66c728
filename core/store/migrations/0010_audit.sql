-- Who did what, and to how many. Written in the transaction of the act, where that is one of Postgres.
CREATE TABLE {schema}.audit (
    id     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue  text        NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    who    text,                -- the name of the API token; null: there were none
    act    text        NOT NULL,
    target json        NOT NULL, -- ids, a filter, an action (core/audit.py)
    count  bigint               -- jobs or dead letters; null: none are counted, or it has begun and its end is not known
);
