"""An executable model of the protocol, explored at random under faults.

`redis_model` and `postgres_model` are the stores: one method a script or a statement. `producers`, `worker` and `upkeep` are the
actors: generators that yield before every trip. `engine` runs them in virtual time and decides what happens to each trip: refused,
reply lost, slow, or applied long after its sender gave up; processes are killed and stopped between any two of its moments.
`explore` draws the faults of one schedule (outages, hangs, partitions, clocks that jump, Redis losing all or its last seconds),
heals everything and waits for rest; `truth` and `checks` say what was broken. `mechanisms` lists what can be switched off.

    python -m tests.protocol_model --schedules 300 --seed 1
    python -m tests.protocol_model --schedules 300 --without audit --trace
    python -m tests.protocol_model --seed 18 --schedules 1 --trace

A line of the trace: time, process, trip, and what it changed: row (attempts/recoveries/interruptions) and places of each task.
"""
