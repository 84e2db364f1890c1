"""Measured claims, each as a ratio to a named peer of the same run: `make bench`."""
