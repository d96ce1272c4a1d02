"""Encoder and decoder: planes <-> the bytes of a file."""
