-- The jobs of an act: those that were named.
chosen AS (
    SELECT unnest(:ids::uuid[]) AS id
)
