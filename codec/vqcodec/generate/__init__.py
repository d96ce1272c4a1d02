"""New pictures from a model: samples of its prior, and interpolations between two pictures."""
