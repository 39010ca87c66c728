-- Begin a transaction whose statement may look at every row. The placeholder stands for the seconds that it may take.
BEGIN;
SET LOCAL statement_timeout = '%ds';
SET LOCAL lock_timeout = '2s';
SET LOCAL idle_in_transaction_session_timeout = '10s'
