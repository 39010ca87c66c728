"""SQL statements, one a file with its contract in the header. Each is a transaction of its own.

`{schema}` stands for the schema of the tables, and is put in its place by the pool.
"""

from importlib.resources import files


def _load(name: str) -> str:
    return files(__name__).joinpath(f"{name}.sql").read_text("utf-8")


GREET = _load("greet")
BEGIN_SLOWLY = _load("begin_slowly")
INSERT_JOBS = _load("insert_jobs")
INSERT_ONCE = _load("insert_once")
JOIN_JOBS = _load("join_jobs")
FREE_KEYS = _load("free_keys")
PRUNE_KEYS = _load("prune_keys")
REFUSE_JOBS = _load("refuse_jobs")
DELETE_OUTBOX = _load("delete_outbox")
CLAIM_JOBS = _load("claim_jobs")
GET_ROW_STATUS = _load("get_row_status")
ADOPT_JOBS = _load("adopt_jobs")
COMPLETE_JOBS = _load("complete_jobs")
FINISH_JOBS = _load("finish_jobs")
REQUEUE_JOBS = _load("requeue_jobs")
OWNED_JOBS = _load("owned_jobs")
TAKE_OUTBOX = _load("take_outbox")
WAITING_JOBS = _load("waiting_jobs")
LIST_JOBS = _load("list_jobs")
LIST_RUNNING_JOBS = _load("list_running_jobs")
LIST_WAITING_JOBS = _load("list_waiting_jobs")
GET_JOB = _load("get_job")
GET_RUNS = _load("get_runs")
GET_ARTIFACTS = _load("get_artifacts")
GET_ARTIFACT = _load("get_artifact")
RECOVER_JOBS = _load("recover_jobs")
GET_OWNERS = _load("get_owners")
OLDEST_PROTOCOL = _load("oldest_protocol")
CHECK_STORE = _load("check_store")
GET_INSTALLATION = _load("get_installation")
READ_CHECKPOINT = _load("read_checkpoint")
OUTBOX_LOST_JOBS = _load("outbox_lost_jobs")
ADVANCE_CHECKPOINT = _load("advance_checkpoint")
PENDING_IDS = _load("pending_ids")
