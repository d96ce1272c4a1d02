"""`python -m benchmarks.gallery`: see `benchmarks.rate.gallery`."""

from benchmarks.rate.gallery import main

if __name__ == "__main__":
    main()
