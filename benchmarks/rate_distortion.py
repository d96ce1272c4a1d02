"""`python -m benchmarks.rate_distortion`: see `benchmarks.rate.rate_distortion`."""

from benchmarks.rate.rate_distortion import main

if __name__ == "__main__":
    main()
