"""`python -m benchmarks.product`: see `benchmarks.speed.product`."""

from benchmarks.speed.product import main

if __name__ == "__main__":
    main()
