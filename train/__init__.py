"""Training: corpora -> features -> network -> evaluation -> bundle. The only package here that imports torch."""
