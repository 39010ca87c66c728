"""The same workloads on other job systems, each in an environment of its own, beside ours."""
