"""`python -m benchmarks.tables`: see `benchmarks.rate.tables`."""

from benchmarks.rate.tables import main

if __name__ == "__main__":
    main()
