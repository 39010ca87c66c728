-- Which database this is.
-- Returns one row: id.
SELECT id FROM {schema}.installation
