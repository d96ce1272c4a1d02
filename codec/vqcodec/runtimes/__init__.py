"""What computes the transforms: NumPy, or torch on a GPU."""
