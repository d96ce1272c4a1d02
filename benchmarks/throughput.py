"""`python -m benchmarks.throughput`: see `benchmarks.speed.throughput`."""

from benchmarks.speed.throughput import main

if __name__ == "__main__":
    main()
