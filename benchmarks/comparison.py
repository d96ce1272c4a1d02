"""`python -m benchmarks.comparison`: see `benchmarks.rate.comparison`."""

from benchmarks.rate.comparison import main

if __name__ == "__main__":
    main()
