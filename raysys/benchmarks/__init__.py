"""Measurements side by side in one run; `python -m jobs.benchmark NAME` prints one of `registry`."""
