"""The command line: what people type, and how batches are run. Heavy imports stay inside the commands."""

from vqcodec.cli.main import main

__all__ = ["main"]
