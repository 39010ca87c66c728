"""Chaos: real producers and workers on real servers, under seeded faults, and a verdict on what became of every job.

plan.py draws the faults from a seed, faults.py carries them out on the processes of processes.py and the links of
proxy.py, and history.py remembers them. load.py enqueues, handlers.py note each run in a file, ledger.py reads it.
verdict.py judges, and says precisely what counts as explained; run.py puts it all together.
"""
