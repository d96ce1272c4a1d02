"""Shipped weights and their manifest; see README.md, the model card."""
