"""Models: their sizes, their weights files, and which are installed."""
