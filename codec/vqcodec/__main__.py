"""`python -m vqcodec`: the same as the command `vqcodec`."""

from vqcodec.cli.main import main

if __name__ == "__main__":
    main(prog_name="vqcodec")
