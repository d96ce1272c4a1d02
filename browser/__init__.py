"""The browser's decoder: ES modules, kernels and a demo page. Not Python; here so that `vqcodec view` finds them when installed."""
