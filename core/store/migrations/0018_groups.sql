-- The group of a job: for fairness, order and limits (core/limits.py).
ALTER TABLE {schema}.jobs ADD COLUMN in_group text;
ALTER TABLE {schema}.actions ADD COLUMN in_group text;

-- Enqueue from SQL, with that option.
DROP FUNCTION {schema}.enqueue;

CREATE FUNCTION {schema}.enqueue(
    type text,
    payload json DEFAULT '{}',
    retries integer DEFAULT 0,
    queue text DEFAULT 'default',
    delay double precision DEFAULT NULL,      -- seconds
    run_at timestamptz DEFAULT NULL,
    expires_in double precision DEFAULT NULL, -- seconds
    timeout double precision DEFAULT NULL,    -- seconds
    unique_key text DEFAULT NULL,
    unique_until text DEFAULT 'ended',        -- or 'started', or a number of seconds
    on_duplicate text DEFAULT 'keep',         -- or 'replace'
    "group" text DEFAULT NULL,                -- of fairness, order and limits
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
    content text;
    until_started boolean;
    free_at timestamptz;
    holder record;
    first record;
    is_free boolean;
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
    ELSIF length(unique_key) NOT BETWEEN 1 AND 255 THEN
        RAISE EXCEPTION 'unique_key is not valid' USING ERRCODE = 'invalid_parameter_value';
    ELSIF unique_until NOT IN ('ended', 'started') AND unique_until !~ '^(?=.*[1-9])[0-9]{1,9}(\.[0-9]{1,9})?$' THEN
        RAISE EXCEPTION 'unique_until is not valid' USING ERRCODE = 'invalid_parameter_value';
    ELSIF on_duplicate NOT IN ('keep', 'replace') THEN
        RAISE EXCEPTION 'on_duplicate is not valid' USING ERRCODE = 'invalid_parameter_value';
    ELSIF length("group") NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'group is not valid' USING ERRCODE = 'invalid_parameter_value';
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
    content := CASE WHEN payload IS NULL OR json_typeof(payload) = 'null' THEN '{}' ELSE payload::text END;
    IF unique_key IS NULL THEN
        unique_until := NULL;
        on_duplicate := NULL;
    ELSE
        unique_until := nullif(unique_until, 'ended');
        on_duplicate := nullif(on_duplicate, 'keep');
        until_started := coalesce(unique_until = 'started', false);
        IF NOT until_started THEN
            free_at := moment + make_interval(secs => unique_until::double precision);
        END IF;
        -- What insert_unique.sql does in one statement: here each of these sees what was committed before it.
        FOR round IN 1..10 LOOP
            INSERT INTO {schema}.unique_keys (queue, key, job_id, until_started, free_at)
            VALUES (installation, unique_key, job, until_started, free_at) ON CONFLICT DO NOTHING;
            EXIT WHEN FOUND;
            SELECT held.* INTO holder FROM {schema}.unique_keys AS held
            WHERE held.queue = installation AND held.key = unique_key FOR UPDATE;
            CONTINUE WHEN NOT FOUND; -- it was pruned, or refused
            SELECT known.type, known.in_queue, known.in_group, known.run_at, known.is_far, known.joined, known.state IN ('pending', 'processing') AS lives,
                   known.state = 'pending' AND NOT known.requeued AND known.attempts + known.recoveries + known.interruptions = 0 AS waits
            INTO first FROM {schema}.jobs AS known WHERE known.id = holder.job_id;
            is_free := CASE WHEN holder.free_at IS NOT NULL THEN holder.free_at <= moment
                            WHEN holder.until_started THEN first.waits IS NOT TRUE
                            ELSE first.lives IS NOT TRUE END;
            IF is_free THEN
                UPDATE {schema}.unique_keys AS held SET job_id = job, until_started = until_started, free_at = free_at
                WHERE held.queue = installation AND held.key = unique_key;
                EXIT;
            END IF;
            IF first.waits AND (on_duplicate = 'replace' OR NOT first.joined) THEN
                -- Joined, it is not cancelled by a refused submit.
                UPDATE {schema}.jobs AS known SET joined = true
                WHERE known.id = holder.job_id AND known.state = 'pending' AND NOT known.requeued
                  AND known.attempts + known.recoveries + known.interruptions = 0;
                CONTINUE WHEN NOT FOUND; -- it was claimed, cancelled or refused
                IF on_duplicate = 'replace' AND first.type = enqueue.type AND first.in_queue = coalesce(enqueue.queue, 'default')
                   AND first.in_group IS NOT DISTINCT FROM enqueue."group" THEN
                    UPDATE {schema}.jobs AS known SET
                        replaced = true, payload = content, retries = coalesce(enqueue.retries, 0), timeout = enqueue.timeout,
                        run_at = due, start_by = expires, unique_until = enqueue.unique_until, on_duplicate = enqueue.on_duplicate,
                        is_far = far, updated_at = moment
                    WHERE known.id = holder.job_id;
                    UPDATE {schema}.unique_keys AS held SET until_started = until_started, free_at = free_at
                    WHERE held.queue = installation AND held.key = unique_key;
                    IF NOT far AND (first.is_far OR coalesce(due, moment) < first.run_at) THEN
                        INSERT INTO {schema}.deleted AS kept (id, queue, at) VALUES (holder.job_id, installation, first.run_at)
                        ON CONFLICT ON CONSTRAINT deleted_pkey DO UPDATE SET at = greatest(kept.at, excluded.at);
                        INSERT INTO {schema}.outbox (batch, queue, ids, at) VALUES (job, installation, ARRAY[holder.job_id], 'epoch');
                        PERFORM pg_notify('workqueue', '{schema}');
                    END IF;
                END IF;
            END IF;
            RETURN holder.job_id;
        END LOOP;
        IF NOT EXISTS (SELECT FROM {schema}.unique_keys AS held WHERE held.queue = installation AND held.key = unique_key AND held.job_id = job) THEN
            RAISE EXCEPTION 'the unique key changes hands too often' USING ERRCODE = 'lock_not_available';
        END IF;
    END IF;
    INSERT INTO {schema}.jobs (id, queue, type, payload, retries, in_queue, run_at, start_by, timeout, is_far, state,
                               unique_key, unique_until, on_duplicate, in_group)
    VALUES (job, installation, type, content, coalesce(retries, 0), coalesce(queue, 'default'), due, expires, timeout, far, 'pending',
            unique_key, unique_until, on_duplicate, "group");
    IF NOT far THEN
        INSERT INTO {schema}.outbox (batch, queue, ids, at) VALUES (job, installation, ARRAY[job], 'epoch');
        PERFORM pg_notify('workqueue', '{schema}');
    END IF;
    RETURN job;
END
$body$;
