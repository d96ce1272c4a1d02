"""The trainer. Imported by the `train` command only."""
