"""A structure-aware fuzzer of the decoder: `python -m tests.fuzz --help`. `tests/codec/test_fuzz.py` runs its short form."""
