-- What running jobs tell of themselves. No foreign keys: each would cost a look at every job that is deleted.
CREATE TABLE {schema}.progress (
    job_id   uuid             PRIMARY KEY,
    token    uuid             NOT NULL, -- of the claim: a later run has told nothing yet
    fraction double precision NOT NULL,
    text     text             NOT NULL,
    at       timestamptz      NOT NULL DEFAULT now()
);

CREATE TABLE {schema}.logs (
    job_id uuid    NOT NULL,
    number bigint  NOT NULL, -- when, in microseconds since 1970 by the clock of its worker
    run    integer NOT NULL,
    text   text    NOT NULL,
    PRIMARY KEY (job_id, number)
);
