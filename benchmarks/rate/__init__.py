"""Rate and distortion: codecs, metrics, the record of results, and what is made of it."""
