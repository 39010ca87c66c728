-- Enqueue from SQL, inside of any transaction of any client: the row and its outbox entry, or where it is far off the row
-- alone. Committed it runs, rolled back it never was. The entry is old enough for the relay at once, and whoever listens
-- pushes it. What no job can have is refused in the words of POST /enqueue.
CREATE FUNCTION {schema}.enqueue(
    type text,
    payload json DEFAULT '{}',
    retries integer DEFAULT 0,
    queue text DEFAULT 'default',
    delay double precision DEFAULT NULL,      -- seconds
    run_at timestamptz DEFAULT NULL,
    expires_in double precision DEFAULT NULL, -- seconds
    timeout double precision DEFAULT NULL,    -- seconds
    queue_name text DEFAULT NULL              -- QUEUE_NAME of the installation; null: the one that there is
) RETURNS uuid
LANGUAGE plpgsql VOLATILE AS $body$
#variable_conflict use_variable
DECLARE
    moment constant timestamptz := clock_timestamp();
    job uuid;
    installation text := queue_name;
    due timestamptz := run_at;
    expires timestamptz;
    far boolean;
BEGIN
    IF type IS NULL OR type = '' THEN
        RAISE EXCEPTION 'type is required' USING ERRCODE = 'invalid_parameter_value';
    ELSIF length(type) > 200 THEN
        RAISE EXCEPTION 'type is not valid: it has more than 200 characters' USING ERRCODE = 'invalid_parameter_value';
    ELSIF payload IS NOT NULL AND json_typeof(payload) NOT IN ('object', 'null') THEN
        RAISE EXCEPTION 'payload is not valid: it must be an object' USING ERRCODE = 'invalid_parameter_value';
    ELSIF retries < 0 THEN
        RAISE EXCEPTION 'retries cannot be negative' USING ERRCODE = 'invalid_parameter_value';
    ELSIF retries > 1000000 THEN
        RAISE EXCEPTION 'retries is not valid: at most 1000000' USING ERRCODE = 'invalid_parameter_value';
    ELSIF queue !~ '^[A-Za-z0-9_-]{1,64}$' THEN
        RAISE EXCEPTION 'queue is not valid' USING ERRCODE = 'invalid_parameter_value';
    ELSIF delay IS NOT NULL AND run_at IS NOT NULL THEN
        RAISE EXCEPTION 'delay and run_at exclude each other' USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT (delay >= 0 AND delay <= 315360000) THEN
        RAISE EXCEPTION 'delay is not valid' USING ERRCODE = 'invalid_parameter_value';
    ELSIF run_at IN ('infinity', '-infinity') OR run_at > '9000-01-01 00:00:00+00' THEN
        RAISE EXCEPTION 'run_at is not valid' USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT (expires_in > 0 AND expires_in < 'infinity') THEN
        RAISE EXCEPTION 'expires_in is not valid' USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT (timeout > 0 AND timeout < 'infinity') THEN
        RAISE EXCEPTION 'timeout is not valid' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF installation IS NULL THEN
        SELECT min(known.queue) INTO installation FROM {schema}.redis_checkpoints AS known HAVING count(*) = 1;
        installation := coalesce(installation, 'workqueue:jobs');
    END IF;
    -- A UUIDv7: its first 48 bits are the milliseconds since 1970, so that new rows stand beside each other in the index.
    job := encode(
        set_bit(set_bit(overlay(
            uuid_send(gen_random_uuid())
            PLACING substring(int8send(floor(extract(epoch FROM moment) * 1000)::bigint) FROM 3) FROM 1 FOR 6
        ), 52, 1), 53, 1), 'hex')::uuid;
    due := coalesce(due, moment + make_interval(secs => delay));
    IF due <= moment THEN
        due := NULL;
    END IF;
    far := coalesce(due > moment + interval '1 hour', false);
    IF expires_in IS NOT NULL THEN
        expires := moment + make_interval(secs => least(expires_in, 6307200000));
    END IF;
    INSERT INTO {schema}.jobs (id, queue, type, payload, retries, in_queue, run_at, start_by, timeout, is_far, state)
    VALUES (job, installation, type, CASE WHEN payload IS NULL OR json_typeof(payload) = 'null' THEN '{}' ELSE payload::text END,
            coalesce(retries, 0), coalesce(queue, 'default'), due, expires, timeout, far, 'pending');
    IF NOT far THEN
        INSERT INTO {schema}.outbox (batch, queue, ids, at) VALUES (job, installation, ARRAY[job], 'epoch');
        PERFORM pg_notify('workqueue', '{schema}');
    END IF;
    RETURN job;
END
$body$;
