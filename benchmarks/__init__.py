"""Benchmarks: scripts, run as `python -m benchmarks.NAME`. Nothing in the packages imports them."""
