"""Benchmarks: scripts, run as `python -m benchmarks.NAME`. Imported by nobody."""
