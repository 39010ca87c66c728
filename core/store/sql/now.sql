-- The clock of this server.
SELECT now() AS now
