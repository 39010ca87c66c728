-- Which database this is, whatever it is called and wherever it is restored: a queue in Redis remembers in which one its
-- jobs have rows (core/steps/installation.py).
CREATE TABLE {schema}.installation (
    id   uuid        NOT NULL DEFAULT gen_random_uuid(),
    at   timestamptz NOT NULL DEFAULT now(),
    one  boolean     PRIMARY KEY DEFAULT true CHECK (one) -- row
);
INSERT INTO {schema}.installation DEFAULT VALUES;
