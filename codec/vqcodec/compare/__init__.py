"""A picture beside JPEG at the same number of bytes."""
