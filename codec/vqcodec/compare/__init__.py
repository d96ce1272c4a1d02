"""A picture beside JPEG, WebP and AVIF at the same number of bytes."""
