"""Time and memory: of codecs, batches, commands and cold starts."""
