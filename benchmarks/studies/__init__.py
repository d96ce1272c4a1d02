"""Studies of single questions: `python -m benchmarks.studies.NAME`."""
