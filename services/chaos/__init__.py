"""Chaos: real producers and workers on real servers, under seeded faults, and a verdict on what became of every job."""
