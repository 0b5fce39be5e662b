"""Benchmarks: `python -m bench [NAME…]` prints one JSON line each, measured beside its peers in one run."""
