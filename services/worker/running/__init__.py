"""How claimed jobs run: admission, slots, runtimes, and what becomes of their outcomes."""
