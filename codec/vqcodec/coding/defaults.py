"""What an encoder takes if it is not told otherwise. Imports nothing, so that the command line starts at once."""

DEFAULT_QUALITY = 75.0
DEFAULT_TUNE = "eye"
