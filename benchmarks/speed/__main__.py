"""`python -m benchmarks.speed`: see `benchmarks.speed.growth`."""

from benchmarks.speed.growth import main

if __name__ == "__main__":
    main()
