"""The learnable VQ-VAE in PyTorch, for training and for the encoder's search."""
