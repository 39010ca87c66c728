"""Every Redis key that belongs to a queue. The braces put them into the slot of the ready list in a Redis Cluster."""

from hashlib import sha256
from uuid import UUID

from msgspec import Struct

from workqueue.core.options import DEFAULT_QUEUE


class Keys(Struct, frozen=True):
    """The ready list's key is the queue's name itself: external programs push and pop there."""

    ready: str

    @property
    def front(self) -> str:
        """List: what BLMOVE moved while a worker waited; every claim takes it first."""
        return f"{{{self.ready}}}:front"

    @property
    def leases(self) -> str:
        """Sorted set: lease -> ms of its last renewal on Redis's clock; 0 = fenced, -1 = ended clean."""
        return f"{{{self.ready}}}:leases"

    @property
    def workers(self) -> str:
        """Hash: lease -> JSON that its worker publishes with each renewal."""
        return f"{{{self.ready}}}:workers"

    @property
    def scheduled(self) -> str:
        """Sorted set: task -> ms on Redis's clock at which it is due."""
        return f"{{{self.ready}}}:scheduled"

    @property
    def queues(self) -> str:
        """Set: names of the queues besides the default one that ever had a job."""
        return f"{{{self.ready}}}:queues"

    @property
    def bell(self) -> str:
        """List: names of queues that were pushed to (the default one's where a group of it was); what is popped from it
        is forgotten."""
        return f"{{{self.ready}}}:bell"

    def ready_of(self, queue: str) -> str:
        """List: the ready list of a queue, as scripts make its key (_queues.lua)."""
        return self.ready if queue == DEFAULT_QUEUE else f"{{{self.ready}}}:q:{queue}"

    def scheduled_of(self, queue: str) -> str:
        """Sorted set: the scheduled set of a queue."""
        return self.scheduled if queue == DEFAULT_QUEUE else f"{{{self.ready}}}:q:{queue}:scheduled"

    @property
    def schedules(self) -> str:
        """Sorted set: schedule of the code -> ms of its next due time. With Postgres the table `schedules` has them."""
        return f"{{{self.ready}}}:schedules"

    @property
    def dead(self) -> str:
        """List of dead letters: JSON of task or task_base64, reason, at."""
        return f"{{{self.ready}}}:dead"

    @property
    def checkpoint(self) -> str:
        """String: ms of Postgres's clock up to which this Redis is known to remember; negative: a loss is being
        repaired (steps/redis_loss.py)."""
        return f"{{{self.ready}}}:checkpoint"

    @property
    def rows(self) -> str:
        """String: id of the database in which the jobs of this queue have rows (table installation); missing: Redis
        only, or nothing is known yet (steps/installation.py)."""
        return f"{{{self.ready}}}:rows"

    @property
    def control(self) -> str:
        """Channel: what all workers of this queue are told (core/control.py)."""
        return f"{{{self.ready}}}:control"

    @property
    def pauses(self) -> str:
        """Hash: `v` -> version, `t:<type>` -> 1 for each paused type, `q:<queue>` for each paused queue. With Postgres
        a copy of the table `pauses`."""
        return f"{{{self.ready}}}:pauses"

    @property
    def parked_counts(self) -> str:
        """Hash: type -> how many tasks are in its parked list."""
        return f"{{{self.ready}}}:parked"

    def parked(self, job_type: str) -> str:
        """List: tasks that were claimed while their type was paused, in their order."""
        return f"{{{self.ready}}}:parked:{job_type}"

    @property
    def limits(self) -> str:
        """Hash: `v` -> version, `type:<type>` -> its limit (scripts/_lanes.lua). With Postgres a copy of the table."""
        return f"{{{self.ready}}}:limits"

    @property
    def group_limits(self) -> str:
        """Hash: `group:<group>`, `groups` -> limit. The keys of lanes and permits: scripts/_lanes.lua."""
        return f"{{{self.ready}}}:group_limits"

    @property
    def lanes(self) -> str:
        """Set: the lanes that have tasks."""
        return f"{{{self.ready}}}:lanes"

    def lane(self, name: str) -> str:
        """List: the tasks of a lane."""
        return f"{{{self.ready}}}:g:{name}"

    @property
    def grouped(self) -> str:
        """Hash: queue -> how many tasks are in its lanes."""
        return f"{{{self.ready}}}:grouped"

    @property
    def behind(self) -> str:
        """Sorted set: lane -> ms at which its first task is due, a retry that keeps its place."""
        return f"{{{self.ready}}}:behind"

    @property
    def running(self) -> str:
        """Hash: scope of a limit -> how many permits there are."""
        return f"{{{self.ready}}}:running"

    @property
    def holders(self) -> str:
        """Set: the leases with permits."""
        return f"{{{self.ready}}}:holders"

    @property
    def unused(self) -> str:
        """Nothing is ever there: a name to ask with (commands.py)."""
        return f"{{{self.ready}}}:unused"

    def idempotency(self, key_hash: bytes) -> str:
        """String with a TTL: SHA-256 of the body that came with this idempotency key. With Postgres a table has it."""
        return f"{{{self.ready}}}:idem:{key_hash.hex()}"

    def unique(self, key: str) -> str:
        """Hash: the job that holds this unique key (`id`), its `type`, and its `task` as it was pushed. With Postgres a
        table has it."""
        return f"{{{self.ready}}}:unique:{sha256(key.encode()).hexdigest()}"

    @property
    def gone(self) -> str:
        """List with a TTL of an hour: workers that are gone, the newest first (core/gone.py)."""
        return f"{{{self.ready}}}:gone"

    def asked(self, lease: UUID) -> str:
        """String with a TTL of an hour: what a person has asked of this worker last (core.control.Wish)."""
        return f"{{{self.ready}}}:asked:{lease}"

    def answer(self, request: UUID) -> str:
        """String with a TTL of seconds: what a worker answers to a question (core/control.py)."""
        return f"{{{self.ready}}}:answer:{request}"

    def flight(self, lease: UUID) -> str:
        """Hash: number -> task that this lease has claimed; `at` = start of its last claim."""
        return f"{{{self.ready}}}:flight:{lease}"

    def permits(self, lease: UUID) -> str:
        """Hash: number in the flight -> the group and the limited type that it counts for."""
        return f"{{{self.ready}}}:permits:{lease}"

    def suspect_starts(self, lease: UUID) -> str:
        """Set: numbers of suspects whose start was recorded."""
        return f"{{{self.ready}}}:suspect_starts:{lease}"
