-- Does a payload have these values at these paths (each an array in text form)? A value is compared as text: of a string its
-- characters, of a number, true or false what stands there. No: there is something else, or nothing, or the payload has
-- what Postgres cannot make text of (\u0000, half of a surrogate pair).
CREATE FUNCTION {schema}.payload_has(payload text, paths text[], wanted text[]) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $body$
BEGIN
    FOR number IN 1 .. cardinality(paths) LOOP
        IF (payload::json #>> paths[number]::text[]) IS DISTINCT FROM wanted[number] THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
EXCEPTION WHEN data_exception THEN
    RETURN false;
END
$body$;
