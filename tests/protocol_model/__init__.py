"""An executable model of the protocol, explored at random under faults.

`redis_model` and `postgres_model` are the stores: one method a script or a statement; `lanes_model` is what Redis does
for groups and limits, `rows_model` has the tables, and `acts_model` the statements of what a person does to jobs.
`producers`, `worker` (with `settling`, `control`, `held` and `limiting`), `upkeep`, `person` and `keeping` are the
actors, step by step what core/steps does: generators that yield before every trip; `channel` carries the messages to
workers. `engine` runs them in virtual time and decides what happens to each trip: refused, reply lost, slow, or applied
long after its sender gave up; processes are killed and stopped between any two of its moments. `explore` draws the
faults of one schedule (outages, hangs, partitions, clocks that jump, Redis losing all or its last seconds), heals
everything and waits for rest; `truth`, `wishes` (what people asked for, against each change of a row) and `checks` say
what was broken. `mechanisms` lists what can be switched off, and what shows it.

    python -m tests.protocol_model --schedules 4000 --seed 1 [--redis-only | --no-losses] [--person] [--grouped]
    python -m tests.protocol_model --without audit --trace            the first bad schedule, told
    python -m tests.protocol_model --seed 18 --schedules 1 --trace    this one
    python -m tests.protocol_model --list | --ablate | --find         the mechanisms; without each; a bad seed for each

A line of the trace: time, process, trip, and what it changed: row (attempts/recoveries/interruptions) and places of
each task. A change of code that changes a step belongs here too: where the two differ, one of them is wrong.
"""
