-- The jobs of one mark.
-- $1 uuid batch
SELECT ids FROM unpushed WHERE batch = $1
