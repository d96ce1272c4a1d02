"""Training. Only the `train` command imports this."""
