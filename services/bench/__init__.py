"""How fast this machine and these servers are with real jobs: what `workqueue bench` and benchmarks/ measure."""
