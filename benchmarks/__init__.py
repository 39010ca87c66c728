"""Where README's figures come from: `python -m benchmarks`, each figure beside a floor of the same run."""
