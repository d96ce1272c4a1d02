"""`python -m benchmarks.report`: see `benchmarks.rate.report`."""

from benchmarks.rate.report import main

if __name__ == "__main__":
    main()
